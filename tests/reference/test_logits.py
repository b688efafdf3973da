"""Logits equal transformers': f32 on the dequantised weights, real models and every tiny one."""
import pathlib

import models
import pytest
from moxie_cli import assert_logits, relative
from safetensors.numpy import load_file

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
TINY = sorted(p.parent.name for p in (GOLDEN / "tiny_models").glob("*/config.json"))
TINY_GGUF = sorted(p.stem for p in (GOLDEN / "tiny_gguf").glob("*.gguf"))
TEXT = ("The river had risen in the night, and by morning (about 6:45) the lower field was under water. "
        "Nobody spoke. \"How many sheep are missing?\" asked Anna, looking at the three that stood on the hill. ")


def test_the_tiny_models_are_there():
    assert len(TINY) >= 34 and len(TINY_GGUF) >= 5


@pytest.mark.parametrize("name", TINY)
def test_tiny(moxie, name):
    folder = GOLDEN / "tiny_models" / name
    ids = load_file(folder / "golden.safetensors")["input_ids"].tolist()
    reference = models.logits(models.load_hf(folder), ids)
    assert_logits(moxie.logits(folder, ids), reference)


@pytest.mark.parametrize("name", TINY_GGUF)
def test_tiny_gguf(moxie, name):
    golden = load_file(GOLDEN / "tiny_gguf" / f"{name}.golden.safetensors")
    ours = moxie.logits(GOLDEN / "tiny_gguf" / f"{name}.gguf", golden["input_ids"].tolist())
    assert_logits(ours, golden["logits"])


def test_smollm_gguf(moxie, smollm, smollm_gguf, smollm_tokenizer):
    ids = smollm_tokenizer(TEXT * 4)["input_ids"][:200]
    assert_logits(moxie.logits(smollm_gguf, ids), models.logits(smollm, ids))


def test_smollm_hf(moxie, smollm, smollm_hf, smollm_tokenizer):
    ids = smollm_tokenizer(TEXT)["input_ids"]
    assert_logits(moxie.logits(smollm_hf, ids), models.logits(smollm, ids))


def test_gemma_gguf(moxie, gemma, gemma_gguf):
    # Longer than the 512 of its window would take minutes here; the tiny models cover the window.
    ids = [2, *range(1000, 9000, 201)]
    assert_logits(moxie.logits(gemma_gguf, ids), models.logits(gemma, ids))


# Both round activations, llama.cpp to 8 bits and Moxie to 8 or to bf16: which of two equal errors is the
# larger one is chance, on one text by a tenth of it. The licence is text that stays as it is.
SPREAD = 1.05
LICENSE = (pathlib.Path(__file__).resolve().parents[2] / "LICENSE").read_text()
PASSAGES = [TEXT, *(LICENSE[at:at + 800] for at in range(1000, 9000, 1000))]


def test_quantised_file_is_as_near_as_llama_cpp(moxie, smollm, smollm_gguf, smollm_tokenizer):
    llama = models.llama_cpp(smollm_gguf)
    theirs, ours = [], []
    for text in PASSAGES:
        ids = smollm_tokenizer(text)["input_ids"]
        reference = models.logits(smollm, ids)
        theirs.append(relative(models.llama_cpp_logits(llama, ids), reference))
        ours.append(relative(moxie.logits(smollm_gguf, ids, dtype="auto"), reference))
    mean_theirs, mean_ours = sum(theirs) / len(theirs), sum(ours) / len(ours)
    print(f"relative error on the quantised file: moxie {mean_ours:.2e}, llama.cpp {mean_theirs:.2e}")
    assert mean_ours <= SPREAD * mean_theirs, f"moxie {ours}, llama.cpp {theirs}"


def test_quantised_gemma_is_as_near_as_llama_cpp(moxie, gemma, gemma_gguf):
    ids = [2, *range(1000, 9000, 201)]
    reference = models.logits(gemma, ids)
    theirs = relative(models.llama_cpp_logits(models.llama_cpp(gemma_gguf), ids), reference)
    ours = relative(moxie.logits(gemma_gguf, ids, dtype="auto"), reference)
    print(f"relative error on the quantised file: moxie {ours:.2e}, llama.cpp {theirs:.2e}")
    assert ours <= SPREAD * theirs, f"moxie {ours:.2e}, llama.cpp {theirs:.2e}"
