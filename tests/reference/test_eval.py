"""Scores and perplexity equal what transformers' logits give."""
import json
import math
import pathlib

import models
import numpy as np
import trainer
import torch
from test_training import household, write_rows

TEXT = "It was a bright cold day in April, and the clocks were striking thirteen."


def log_probs(model, ids) -> list[float]:
    logits = torch.tensor(models.logits(model, ids)).double().log_softmax(-1)
    return [logits[i - 1, ids[i]].item() for i in range(1, len(ids))]


def test_score(moxie, smollm, smollm_gguf, smollm_tokenizer):
    ids = smollm_tokenizer(TEXT)["input_ids"]
    expected = log_probs(smollm, ids)
    out = moxie.json("score", smollm_gguf, "--text", TEXT, "--dtype", "f32")
    assert out["tokens"] == ids
    assert out["logprobs"][0] is None
    assert np.allclose(out["logprobs"][1:], expected, rtol=1e-4, atol=1e-4)
    assert math.isclose(out["loss"], -np.mean(expected), rel_tol=1e-4)
    assert math.isclose(out["perplexity"], math.exp(-np.mean(expected)), rel_tol=2e-4)


def test_perplexity_over_learnt_tokens(moxie, smollm, smollm_gguf, smollm_tokenizer, tmp_path):
    """The mean is over the learnt tokens of the whole set, not over the means of its samples."""
    rows = household(3, seed=21) + [{"prompt": "Say yes.\n", "completion": "yes"},
                                    {"prompt": "Count to twelve: ", "completion": ", ".join("0123456789")}]
    data = write_rows(tmp_path / "data.jsonl", rows)
    total, count = 0.0, 0
    for ids, learnt in trainer.read_examples(data, smollm_tokenizer):
        for i, value in enumerate(log_probs(smollm, ids), start=1):
            if learnt[i]:
                total, count = total - value, count + 1
    out = moxie.json("eval", smollm_gguf, "--data", data, "--metric", "perplexity", "--dtype", "f32")
    assert math.isclose(out["perplexity"], math.exp(total / count), rel_tol=1e-3), (out, math.exp(total / count))
