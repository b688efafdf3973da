"""Training curves equal PEFT's: the same data in the same order, the same initial weights, f32."""
import json
import pathlib
import random
import shutil

import models
import numpy as np
import peft
import pytest
import torch
import trainer
from moxie_cli import assert_losses, relative
from safetensors.numpy import load_file
from transformers import AutoTokenizer

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
CURVES = GOLDEN / "lora_curve"
TINY = sorted(p.parent.name for p in (GOLDEN / "tiny_models").glob("*/config.json"))
FLAGS = ["--batch-size", 4, "--schedule", "cosine", "--warmup", 0.1, "--no-shuffle"]
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def household(count: int, seed: int) -> list[dict]:
    """Prompts and completions of 40 to 56 tokens of SmolLM2."""
    rng = random.Random(seed)
    rooms = ["kitchen", "living room", "bedroom", "hall", "bathroom", "garage", "attic", "guest room"]
    things = ["ceiling lamp", "blinds", "heating", "radio", "fan", "door lock", "coffee machine", "window"]
    rows = []
    for _ in range(count):
        thing, room, value = rng.choice(things), rng.choice(rooms), rng.randint(1, 30)
        rows.append({
            "prompt": f"Command: please set the {thing} in the {room} to {value}, then tell me when you are done "
                      f"with it.\nAnswer:",
            "completion": ' {"device": "%s", "room": "%s", "value": %d}' % (thing, room, value)})
    return rows


def write_rows(path: pathlib.Path, rows: list[dict]) -> pathlib.Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def init_adapter(base, folder: pathlib.Path, **options):
    """A PEFT adapter whose B is not zero, saved; returns the PEFT model that holds it."""
    config = peft.LoraConfig(**{"r": 8, "lora_alpha": 16, "target_modules": TARGETS, "task_type": "CAUSAL_LM",
                                **options})
    model = peft.get_peft_model(base, config)
    gen = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_" in name:
                scale = 0.01 if "lora_B" in name or "embedding_B" in name else 0.5 / p.shape[-1] ** 0.5
                p.copy_(torch.randn(p.shape, generator=gen) * scale)
    model.save_pretrained(folder)
    return model


def compare_adapters(ours: pathlib.Path, reference: dict, initial: dict, bound: float = 1e-3) -> None:
    ours = load_file(ours / "adapter_model.safetensors")
    assert sorted(ours) == sorted(reference)
    for name in reference:
        assert relative(ours[name], reference[name]) <= bound, (name, relative(ours[name], reference[name]))
    # Most of a tensor is its initial value: what was learnt must agree as well, all tensors together.
    join = lambda tensors: np.concatenate([(tensors[n] - initial[n]).ravel() for n in sorted(reference)])
    learnt = relative(join(ours), join(reference))
    print(f"the learnt change differs by {learnt:.1e}")
    assert learnt <= 1e-2, f"the change that training made differs by {learnt:.1e}"


def adapter_tensors(model) -> dict:
    return {k: v.detach().float().numpy().copy() for k, v in peft.get_peft_model_state_dict(model).items()}


def test_lora_on_smollm(moxie, smollm, smollm_gguf, smollm_tokenizer, tmp_path):
    rows = household(120, seed=1)
    data = write_rows(tmp_path / "data.jsonl", rows)
    model = init_adapter(models.plain_copy(smollm), tmp_path / "init")
    initial = adapter_tensors(model)
    examples = trainer.read_examples(data, smollm_tokenizer)
    assert 36 <= np.mean([len(ids) for ids, _ in examples]) <= 60
    reference = trainer.train(model, examples, steps=30, lr=2e-4, warmup=0.1)
    metrics = moxie.tune(smollm_gguf, data, tmp_path / "out", "--init-adapter", tmp_path / "init", "--lr", 2e-4,
                         "--steps", 30, "--dtype", "f32", *FLAGS)
    assert_losses([m["loss"] for m in metrics], reference["losses"])
    assert_losses([m["grad_norm"] for m in metrics], reference["grad_norms"], bound=1e-3)
    assert np.allclose([m["learning_rate"] for m in metrics], reference["learning_rates"], rtol=1e-6)
    compare_adapters(tmp_path / "out", adapter_tensors(model), initial)

    # The same in bf16: the losses stay within the rounding of its eight bits.
    metrics = moxie.tune(smollm_gguf, data, tmp_path / "bf16", "--init-adapter", tmp_path / "init", "--lr", 2e-4,
                         "--steps", 8, "--dtype", "bf16", "--batch-size", 4, "--schedule", "constant", "--warmup", 0,
                         "--no-shuffle")
    model = peft.PeftModel.from_pretrained(models.plain_copy(smollm), tmp_path / "init", is_trainable=True)
    reference = trainer.train(model, examples, steps=8, lr=2e-4, warmup=0.0, schedule="constant")
    assert_losses([m["loss"] for m in metrics], reference["losses"], bound=2e-2)


def test_lora_on_the_golden_checkpoint(moxie, tmp_path):
    expected = json.loads((CURVES / "lora.json").read_text())
    metrics = moxie.tune(CURVES / "base", CURVES / "prompts.jsonl", tmp_path / "out", "--init-adapter",
                         CURVES / "adapter_init", "--lr", 2e-3, "--steps", 30, "--dtype", "f32", *FLAGS)
    assert_losses([m["loss"] for m in metrics], expected["losses"])
    assert_losses([m["grad_norm"] for m in metrics], expected["grad_norms"], bound=1e-3)
    compare_adapters(tmp_path / "out", load_file(CURVES / "adapter_final" / "adapter_model.safetensors"),
                     load_file(CURVES / "adapter_init" / "adapter_model.safetensors"))


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_full_fine_tuning(moxie, tmp_path, decay):
    model = models.load_hf(CURVES / "base")
    initial = {k: v.clone().numpy() for k, v in model.state_dict().items()}
    tokenizer = AutoTokenizer.from_pretrained(CURVES / "base")
    examples = trainer.read_examples(CURVES / "texts.jsonl", tokenizer)
    reference = trainer.train(model, examples, steps=30, lr=1e-3, warmup=0.1, decay=decay)
    if decay == 0.0:
        assert_losses(reference["losses"], json.loads((CURVES / "full.json").read_text())["losses"], bound=1e-5)
    out = tmp_path / "out"
    metrics = moxie.tune(CURVES / "base", CURVES / "texts.jsonl", out, "--method", "full", "--lr", 1e-3, "--steps",
                         30, "--weight-decay", decay, "--dtype", "f32", *FLAGS)
    assert_losses([m["loss"] for m in metrics], reference["losses"])
    tuned = models.load_hf(out)  # transformers reads what was written
    for name, tensor in model.state_dict().items():
        theirs, ours = tensor.numpy(), tuned.state_dict()[name].numpy()
        assert relative(ours, theirs) <= 1e-3, (name, relative(ours, theirs))
        change = relative(ours - initial[name], theirs - initial[name])
        assert change <= 2e-2, f"{name}: the change that training made differs by {change:.1e}"


@pytest.mark.parametrize("name", TINY)
def test_gradients_of_every_architecture(moxie, name, tmp_path):
    """Three steps of full fine-tuning: the loss, the norm of all gradients, and the loss after the update."""
    base = tmp_path / "base"
    shutil.copytree(GOLDEN / "tiny_models" / name, base)
    for file in (GOLDEN / "tiny_models" / "tokenizer").iterdir():
        shutil.copy(file, base)
    rows = [json.loads(line) for line in (CURVES / "texts.jsonl").read_text().splitlines()[:12]]
    data = write_rows(tmp_path / "texts.jsonl", rows)
    model = models.load_hf(base)
    limit = model.config.max_position_embeddings  # what is longer than the context is cut
    examples = [(ids[:limit], learnt[:limit])
                for ids, learnt in trainer.read_examples(data, AutoTokenizer.from_pretrained(base))]
    reference = trainer.train(model, examples, steps=3, lr=1e-3, warmup=0.0, schedule="constant")
    metrics = moxie.tune(base, data, tmp_path / "out", "--method", "full", "--lr", 1e-3, "--steps", 3, "--dtype",
                         "f32", "--batch-size", 4, "--schedule", "constant", "--warmup", 0, "--no-shuffle")
    assert_losses([m["loss"] for m in metrics], reference["losses"])
    assert_losses([m["grad_norm"] for m in metrics], reference["grad_norms"], bound=1e-3)
