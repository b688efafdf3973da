"""The reference training loop: what transformers' Trainer does on one process, written out.

Loss is the mean over all learnt tokens of the batch (not over micro-batches), gradients are clipped by
their global norm, AdamW (0.9, 0.999, 1e-8) steps, the schedule is transformers' own. Examples are
(ids, learnt) pairs taken in order; learnt[i] says whether the prediction OF token i counts.
"""
import json
import math
import pathlib

import torch
from transformers import get_scheduler

IGNORED = -100


def read_examples(path: pathlib.Path, tokenizer) -> list[tuple[list[int], list[int]]]:
    """{text} or {prompt, completion} lines as TRL's SFTTrainer tokenises them: end of sequence appended."""
    examples = []
    for line in pathlib.Path(path).read_text().splitlines():
        row = json.loads(line)
        if "text" in row:
            ids = tokenizer(row["text"])["input_ids"] + [tokenizer.eos_token_id]
            learnt = [1] * len(ids)
        else:
            prompt = tokenizer(row["prompt"])["input_ids"]
            ids = tokenizer(row["prompt"] + row["completion"])["input_ids"] + [tokenizer.eos_token_id]
            assert ids[:len(prompt)] == prompt, f"the prompt's tokens are not a prefix: {row}"
            learnt = [0] * len(prompt) + [1] * (len(ids) - len(prompt))
        examples.append((ids, learnt))
    return examples


def collate(batch, pad: int):
    width = max(len(ids) for ids, _ in batch)
    ids = torch.tensor([i + [pad] * (width - len(i)) for i, _ in batch])
    mask = torch.tensor([[1] * len(i) + [0] * (width - len(i)) for i, _ in batch])
    labels = torch.tensor([[t if m else IGNORED for t, m in zip(i, k)] + [IGNORED] * (width - len(i))
                           for i, k in batch])
    return ids, mask, labels


def parameter_groups(model, decay: float):
    """As Trainer: no decay on biases and norms."""
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    plain = [p for n, p in named if n.endswith("bias") or "norm" in n]
    decayed = [p for n, p in named if not (n.endswith("bias") or "norm" in n)]
    return [{"params": decayed, "weight_decay": decay}, {"params": plain, "weight_decay": 0.0}]


def train(model, examples, *, steps: int, batch_size: int = 4, lr: float = 2e-4, warmup: float = 0.1,
          schedule: str = "cosine", clip: float = 1.0, decay: float = 0.0, pad: int = 0) -> dict:
    assert len(examples) >= steps * batch_size, "the curve is one pass over the data"
    optimizer = torch.optim.AdamW(parameter_groups(model, decay), lr=lr)
    scheduler = get_scheduler(schedule, optimizer, num_warmup_steps=math.ceil(steps * warmup),
                              num_training_steps=steps)
    trainable = [p for p in model.parameters() if p.requires_grad]
    out = {"losses": [], "grad_norms": [], "learning_rates": []}
    model.train()
    for step in range(steps):
        ids, mask, labels = collate(examples[step * batch_size:(step + 1) * batch_size], pad)
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits.float()
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(),
                                                 ignore_index=IGNORED)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trainable, clip)
        out["losses"].append(loss.item())
        out["grad_norms"].append(norm.item())
        out["learning_rates"].append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
    model.eval()
    return out
