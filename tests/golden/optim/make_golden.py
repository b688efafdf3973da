"""Writes golden.json: what torch's optimizers and clipping and transformers' schedules return.

Run in a virtualenv with torch and transformers; their versions are recorded in the file.
"""
import json
import pathlib

import torch
import transformers
from transformers import TrainingArguments, get_scheduler

STEPS = 6
SHAPES = [[3, 5], [7], [1]]
RATES = [0.0, 1e-2, 2e-2, 2e-2, 5e-3, 1e-1]


def numbers(tensor):
    return [float(x) for x in tensor.flatten()]


def optimizer_case(name, options, torch_class, torch_options):
    torch.manual_seed(7)
    params = [torch.nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    case = {"optimizer": name, "options": options, "initial": [numbers(p.data) for p in params], "steps": []}
    optimizer = torch_class(params, lr=1.0, foreach=False, **torch_options)
    for step in range(STEPS):
        for index, param in enumerate(params):
            # The last param gets its first gradient late: its bias correction must start there.
            late = index == 2 and step < 2
            param.grad = None if late else torch.randn(param.shape) * 10.0 ** (step % 3 - 1)
        for group in optimizer.param_groups:
            group["lr"] = RATES[step]
        case["steps"].append({
            "learning_rate": RATES[step],
            "gradients": [None if p.grad is None else numbers(p.grad) for p in params],
        })
        optimizer.step()
        case["steps"][-1]["values"] = [numbers(p.data) for p in params]
    return case


def clip_case(max_norm, scale):
    torch.manual_seed(11)
    params = [torch.nn.Parameter(torch.zeros(shape)) for shape in SHAPES]
    for param in params:
        param.grad = torch.randn(param.shape) * scale
    before = [numbers(p.grad) for p in params]
    norm = torch.nn.utils.clip_grad_norm_(params, max_norm)
    return {"max_norm": max_norm, "gradients": before, "norm": float(norm),
            "clipped": [numbers(p.grad) for p in params]}


def schedule_case(name, total, warmup, decay=None):
    args = TrainingArguments(output_dir="/tmp/unused", warmup_steps=warmup)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2e-4)
    theirs = {"constant": "constant_with_warmup", "wsd": "warmup_stable_decay"}.get(name, name)
    specific = {"num_decay_steps": decay} if name == "wsd" else {}
    schedule = get_scheduler(theirs, optimizer, num_warmup_steps=args.get_warmup_steps(total),
                             num_training_steps=total, scheduler_specific_kwargs=specific)
    rates = []
    for _ in range(total + 1):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return {"schedule": name, "total": total, "warmup": warmup, "decay": decay, "base": 2e-4, "rates": rates}


def main():
    adamw, sgd = torch.optim.AdamW, torch.optim.SGD
    golden = {
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "optimizers": [
            optimizer_case("adamw", {}, adamw, {"weight_decay": 0.0}),
            optimizer_case("adamw", {"weight_decay": 0.1, "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-3},
                           adamw, {"weight_decay": 0.1, "betas": (0.8, 0.95), "eps": 1e-3}),
            optimizer_case("adamw", {"beta1": 0.3}, adamw, {"weight_decay": 0.0, "betas": (0.3, 0.999)}),
            optimizer_case("sgd", {}, sgd, {}),
            optimizer_case("sgd", {"momentum": 0.9, "dampening": 0.25, "weight_decay": 0.05}, sgd,
                           {"momentum": 0.9, "dampening": 0.25, "weight_decay": 0.05}),
            optimizer_case("sgd", {"momentum": 0.9, "nesterov": True}, sgd, {"momentum": 0.9, "nesterov": True}),
        ],
        "clips": [clip_case(1.0, 1.0), clip_case(1.0, 0.01), clip_case(0.3, 100.0)],
        "schedules": [schedule_case(name, total, warmup, decay=3)
                      for name in ("constant", "linear", "cosine", "wsd")
                      for total, warmup in ((12, 0), (12, 0.03), (21, 0.1), (20, 5))],
    }
    path = pathlib.Path(__file__).parent / "golden.json"
    path.write_text(json.dumps(golden, separators=(",", ":")).replace('},{', '},\n{') + "\n")


main()
