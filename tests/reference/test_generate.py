"""Greedy generation equals transformers' generate, token for token."""
import json
import pathlib

import models

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"


def test_raw_continuation(moxie, smollm, smollm_gguf, smollm_tokenizer):
    prompt = "The three largest cities of Germany are"
    ids = smollm_tokenizer(prompt)["input_ids"]
    expected = models.greedy(smollm, ids, 40)
    out = moxie.json("generate", smollm_gguf, "--prompt", prompt, "--raw", "--max-tokens", 40, "--temperature", 0,
                     "--dtype", "f32")
    assert strip_end(out["tokens"]) == strip_end(expected)
    assert out["text"] == smollm_tokenizer.decode(expected, skip_special_tokens=True)


def test_chat_answer(moxie, smollm, smollm_gguf, smollm_tokenizer):
    golden = json.loads((GOLDEN / "smollm2" / "greedy.json").read_text())
    chat = smollm_tokenizer.apply_chat_template([{"role": "user", "content": golden["question"]}],
                                                add_generation_prompt=True, tokenize=False)
    assert chat == golden["chat"]
    expected = models.greedy(smollm, smollm_tokenizer(chat)["input_ids"], 40)
    assert expected == golden["continuation_ids"], "transformers itself no longer says what the golden file says"
    out = moxie.json("generate", smollm_gguf, "--prompt", golden["question"], "--max-tokens", 40, "--temperature", 0,
                     "--dtype", "f32")
    assert strip_end(out["tokens"]) == strip_end(expected)


def test_with_an_adapter(moxie):
    base, adapter = GOLDEN / "lora_curve" / "base", GOLDEN / "lora_curve" / "adapter_final"
    import peft
    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = peft.PeftModel.from_pretrained(models.load_hf(base), adapter).eval()
    prompt = "turn on the lamp in the hall."
    expected = models.greedy(model, tokenizer(prompt)["input_ids"], 24)
    out = moxie.json("generate", base, "--adapter", adapter, "--prompt", prompt, "--raw", "--max-tokens", 24,
                     "--temperature", 0, "--dtype", "f32")
    assert strip_end(out["tokens"]) == strip_end(expected)


def strip_end(tokens: list[int]) -> list[int]:
    """Without the end token, which one side may report and the other not."""
    return tokens[:-1] if tokens and tokens[-1] == 2 else tokens
