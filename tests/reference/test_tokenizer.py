"""Token ids equal Hugging Face's and llama.cpp's on text that tokenizers get wrong."""
import json
import pathlib

import models
import nasty
from llama_cpp import Llama
from transformers import AutoTokenizer

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
TEXTS = [t for t in nasty.TEXTS if t]  # an empty text is no example to learn from


def ours(moxie, model, texts, work, eos: int) -> list[list[int]]:
    """All texts as one file, so that the vocabulary is read once; training ends each with EOS."""
    path = work / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    rows = [row["tokens"] for row in moxie.json_lines("tokenize", model, "--data", path, "--max-length", 0)]
    assert all(ids[-1] == eos for ids in rows)
    return [ids[:-1] for ids in rows]


def check(mine, theirs, texts, who):
    wrong = [(t, a, b) for t, a, b in zip(texts, mine, theirs, strict=True) if a != b]
    assert not wrong, f"{len(wrong)} of {len(texts)} texts differ from {who}: " + "; ".join(
        f"{t!r}: {a} against {b}" for t, a, b in wrong[:3])


def test_smollm(moxie, smollm_gguf, smollm_tokenizer, tmp_path):
    llm = Llama(str(smollm_gguf), vocab_only=True, verbose=False)
    texts = [*TEXTS, *nasty.SPECIAL_TEXTS]
    mine = ours(moxie, smollm_gguf, texts, tmp_path, eos=2)
    check(mine, [smollm_tokenizer(t)["input_ids"] for t in texts], texts, "Hugging Face")
    check(mine, [llm.tokenize(t.encode(), add_bos=False, special=True) for t in texts], texts, "llama.cpp")


def test_gemma(moxie, gemma_gguf, tmp_path):
    llm = Llama(str(gemma_gguf), vocab_only=True, verbose=False)
    texts = [*TEXTS, "<start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n"]
    mine = ours(moxie, gemma_gguf, texts, tmp_path, eos=1)
    check(mine, [llm.tokenize(t.encode(), add_bos=True, special=True) for t in texts], texts, "llama.cpp")
    # As an argument: nothing is added behind.
    assert moxie.json("tokenize", gemma_gguf, "--text", texts[0])["tokens"] == mine[0]


def test_written_by_transformers(moxie, smollm_hf, smollm_tokenizer, tmp_path):
    check(ours(moxie, smollm_hf, TEXTS, tmp_path, eos=2), [smollm_tokenizer(t)["input_ids"] for t in TEXTS], TEXTS,
          "the directory's own tokenizer")


def test_pieces_spell_the_text(moxie, smollm_gguf, smollm_tokenizer):
    text = "Grüße aus Köln, 2024!"
    out = moxie.json("tokenize", smollm_gguf, "--text", text)
    assert out["tokens"] == smollm_tokenizer(text)["input_ids"]
    assert len(out["pieces"]) == len(out["tokens"]) and out["pieces"][0] == "Gr"


def test_tiny(moxie, tmp_path):
    base = GOLDEN / "lora_curve" / "base"
    tokenizer = AutoTokenizer.from_pretrained(base)
    texts = ["turn on the light", "set 21 {\"device\": \"lamp\"}", "a</s>b"]
    check(ours(moxie, base, texts, tmp_path, eos=2), [tokenizer(t)["input_ids"] for t in texts], texts,
          "Hugging Face")
