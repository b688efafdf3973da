"""Token ids equal Hugging Face's and llama.cpp's on text that tokenizers get wrong."""
import pathlib

import models
import nasty
import pytest
from llama_cpp import Llama
from transformers import AutoTokenizer

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
PLAIN = [t for t in nasty.TEXTS if "\x00" not in t]  # an argument cannot hold a NUL


def ours(moxie, model, texts) -> list[list[int]]:
    return [moxie.json("tokenize", model, "--text", t)["tokens"] for t in texts]


def check(mine, theirs, texts, who):
    wrong = [(t, a, b) for t, a, b in zip(texts, mine, theirs, strict=True) if a != b]
    assert not wrong, f"{len(wrong)} of {len(texts)} texts differ from {who}: " + "; ".join(
        f"{t!r}: {a} against {b}" for t, a, b in wrong[:3])


def test_smollm(moxie, smollm_gguf, smollm_tokenizer):
    llm = Llama(str(smollm_gguf), vocab_only=True, verbose=False)
    texts = [*PLAIN, *nasty.SPECIAL_TEXTS]
    mine = ours(moxie, smollm_gguf, texts)
    check(mine, [smollm_tokenizer(t)["input_ids"] for t in texts], texts, "Hugging Face")
    check(mine, [llm.tokenize(t.encode(), add_bos=False, special=True) for t in texts], texts, "llama.cpp")


def test_gemma(moxie, gemma_gguf):
    llm = Llama(str(gemma_gguf), vocab_only=True, verbose=False)
    texts = [*PLAIN, "<start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n"]
    mine = ours(moxie, gemma_gguf, texts)
    check(mine, [llm.tokenize(t.encode(), add_bos=True, special=True) for t in texts], texts, "llama.cpp")


def test_written_by_transformers(moxie, smollm_hf, smollm_tokenizer):
    check(ours(moxie, smollm_hf, PLAIN[:12]), [smollm_tokenizer(t)["input_ids"] for t in PLAIN[:12]], PLAIN[:12],
          "the directory's own tokenizer")


def test_pieces_spell_the_text(moxie, smollm_gguf, smollm_tokenizer):
    out = moxie.json("tokenize", smollm_gguf, "--text", "Grüße aus Köln, 2024!")
    assert len(out["pieces"]) == len(out["tokens"]) >= 6
    assert smollm_tokenizer.decode(out["tokens"]) == "Grüße aus Köln, 2024!"


def test_tiny(moxie):
    base = GOLDEN / "lora_curve" / "base"
    tokenizer = AutoTokenizer.from_pretrained(base)
    texts = ["turn on the light", "set 21 {\"device\": \"lamp\"}", "a</s>b"]
    check(ours(moxie, base, texts), [tokenizer(t)["input_ids"] for t in texts], texts, "Hugging Face")
