"""Hugging Face directories as GGUF files: llama.cpp computes the same logits and gives the same ids.

ggml computes Gemma's GELU through f16 tables, which is all that BOUND allows for there; a wrong key, order of
rows or factor costs far more.
"""
import json
import pathlib
import shutil

import models
import peft
import pytest
import torch
from moxie_cli import assert_logits, relative
from safetensors.numpy import load_file
from tokenizers import Tokenizer

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
TINY = GOLDEN / "tiny_models"
TEXT = "Turn off the lamp 21 times,\n\n  then open \"the\" gate. </s>x"
GEMMA = {"query_pre_attn_scalar": 16}  # its head size: llama.cpp takes that for granted
BOUND = {"gemma": 1e-3}
YARN = {"rope_type": "yarn", "rope_theta": 100.0, "factor": 4.0}
# Every checkpoint that is not refused (tests/models/gguf_export_golden_test.cpp), but for
# phi3_longrope_short: llama.cpp picks the factors by its context, which has 256 tokens at least.
CASES = [
    ("gemma2", GEMMA), ("gemma3", GEMMA), ("gemma3_legacy_config", GEMMA), ("gemma3_rope_linear", GEMMA),
    ("mistral_window", {"sliding_window": 64}), ("qwen2_tied_window", {"use_sliding_window": False}),
    ("llama_rope_yarn", {"rope_parameters": {**YARN, "original_max_position_embeddings": 16, "attention_factor": 0.8}}),
    ("qwen2", {"rope_parameters": YARN}),
    *((name, {}) for name in [
        "granite", "granite_tied_bias", "llama", "llama_attention_bias", "llama_head_dim", "llama_legacy_config",
        "llama_mlp_bias", "llama_no_groups", "llama_one_kv_head", "llama_rope_linear", "llama_rope_llama3",
        "llama_rope_yarn", "llama_rope_yarn_mscale", "llama_sharded", "llama_tied", "mistral_head_dim", "olmo2",
        "phi3", "phi3_longrope_long", "phi3_partial", "qwen2", "qwen3", "smollm3"]),
]


@pytest.mark.parametrize("name, changes", CASES)
def test_llama_cpp_computes_the_same(moxie, tmp_path, name, changes):
    folder = tmp_path / "model"
    shutil.copytree(TINY / name, folder)
    shutil.copytree(TINY / "tokenizer", folder, dirs_exist_ok=True)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    ids = load_file(TINY / name / "golden.safetensors")["input_ids"].tolist()
    moxie.run("export", folder, "--to", "gguf", "--quant", "f32", "--out", tmp_path / "model.gguf")
    llm = models.llama_cpp(tmp_path / "model.gguf", length=64)
    bound = next((b for start, b in BOUND.items() if name.startswith(start)), 1e-4)
    assert_logits(models.llama_cpp_logits(llm, ids), moxie.logits(folder, ids), bound)
    assert_logits(moxie.logits(tmp_path / "model.gguf", ids), moxie.logits(folder, ids))
    wanted = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(TEXT).ids
    assert llm.tokenize(TEXT.encode(), add_bos=False, special=True) == wanted


def random_adapter(folder, out):
    model = peft.get_peft_model(models.load_hf(folder), peft.LoraConfig(
        r=4, target_modules=["q_proj", "v_proj", "o_proj", "down_proj"]))
    torch.manual_seed(3)
    for name, p in model.named_parameters():
        if "lora_B" in name:
            p.data.normal_(std=0.04)
    model.save_pretrained(out)
    return model.merge_and_unload().eval()


def test_smollm_from_gguf_to_hf_to_gguf(moxie, smollm_gguf, smollm, smollm_tokenizer, tmp_path):
    """The real model, its tokenizer and its template survive the way through a directory, alone and with
    an adapter merged on the way back."""
    prompt = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    ids = smollm_tokenizer(prompt)["input_ids"]
    moxie.run("export", smollm_gguf, "--to", "hf", "--out", tmp_path / "hf")
    merged = random_adapter(tmp_path / "hf", tmp_path / "adapter")
    assert relative(models.logits(merged, ids), models.logits(smollm, ids)) > 0.01, "the adapter changes nothing"
    original = models.llama_cpp(smollm_gguf)
    for reference, flags in [(smollm, []), (merged, ["--adapter", tmp_path / "adapter", "--merge"])]:
        moxie.run("export", tmp_path / "hf", *flags, "--to", "gguf", "--quant", "f32", "--out", tmp_path / "m.gguf")
        llm = models.llama_cpp(tmp_path / "m.gguf")
        gap = relative(models.llama_cpp_logits(llm, ids), models.logits(reference, ids))
        assert gap < 1e-3, f"llama.cpp's logits differ by {gap:.1e}"
        assert models.llama_cpp_greedy(llm, ids, 24) == models.greedy(reference, ids, 24)
        assert llm.tokenize(prompt.encode(), add_bos=False, special=True) == ids
        for key in ("tokenizer.chat_template", "tokenizer.ggml.pre", "tokenizer.ggml.eos_token_id"):
            assert llm.metadata[key] == original.metadata[key], key


@pytest.mark.parametrize("name", ["smollm2", "gemma3"])
def test_vocabularies_survive(moxie, smollm_gguf, gemma_gguf, tmp_path, name):
    """Of what the real models' directories hold, llama.cpp gives the ids of the files they came from."""
    from llama_cpp import Llama
    gguf = {"smollm2": smollm_gguf, "gemma3": gemma_gguf}[name]
    moxie.run("export", gguf, "--to", "hf", "--quant", "bf16", "--out", tmp_path / "hf")
    moxie.run("export", tmp_path / "hf", "--to", "gguf", "--out", tmp_path / "m.gguf")
    llm = Llama(str(tmp_path / "m.gguf"), vocab_only=True, verbose=False)
    golden = json.loads((GOLDEN / "text" / "real_vocabularies.json").read_text())
    assert len(golden["texts"]) >= 19
    for text, wanted in zip(golden["texts"], golden["models"][name], strict=True):
        assert llm.tokenize(text.encode(), add_bos=True, special=True) == wanted, text
