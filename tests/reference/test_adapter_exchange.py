"""Adapters and exports go both ways: PEFT, transformers and llama.cpp read ours, we read theirs."""
import json
import pathlib
import shutil

import models
import peft
import pytest
from moxie_cli import assert_logits, relative
from safetensors.numpy import load_file
from test_training import GOLDEN, TARGETS, household, init_adapter, write_rows

BASE = GOLDEN / "lora_curve" / "base"
UNTIED = GOLDEN / "tiny_models" / "llama"
IDS = load_file(GOLDEN / "tiny_models" / "llama" / "golden.safetensors")["input_ids"].tolist()

VARIANTS = {
    "plain": {},
    "rslora": {"use_rslora": True, "r": 4, "lora_alpha": 3},
    "alpha_pattern": {"alpha_pattern": {"q_proj": 32, "layers.1.mlp.down_proj": 5}},
    "rank_pattern": {"rank_pattern": {"^model.layers.0.self_attn.v_proj": 3, "up_proj": 12}},
    "both_patterns_rslora": {"use_rslora": True, "rank_pattern": {"o_proj": 2}, "alpha_pattern": {"o_proj": 9}},
    "regex": {"target_modules": r".*\.self_attn\.(q|v)_proj"},
    "all_linear": {"target_modules": "all-linear"},
    "some_layers": {"layers_to_transform": [1]},
    "embedding": {"target_modules": ["embed_tokens", "q_proj"]},
    "head": {"target_modules": ["lm_head", "down_proj"]},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_theirs_is_read_here(moxie, tmp_path, variant):
    model = init_adapter(models.load_hf(UNTIED), tmp_path / "adapter", **VARIANTS[variant]).eval()
    for name, p in model.named_parameters():  # far from the base, so that ignoring any part of it shows
        if "lora_B" in name or "embedding_B" in name:
            p.data *= 40
    model.save_pretrained(tmp_path / "adapter")
    reference = models.logits(model, IDS)
    assert relative(models.logits(models.load_hf(UNTIED), IDS), reference) > 0.05
    assert_logits(moxie.logits(UNTIED, IDS, "--adapter", tmp_path / "adapter"), reference)


def test_theirs_on_a_tied_head(moxie, tmp_path):
    """The head is the embedding's matrix in BASE: PEFT changes the one and not the other."""
    model = init_adapter(models.load_hf(BASE), tmp_path / "adapter", target_modules=["lm_head", "down_proj"]).eval()
    for name, p in model.named_parameters():
        if "lora_B" in name:
            p.data *= 40
    model.save_pretrained(tmp_path / "adapter")
    assert_logits(moxie.logits(BASE, IDS, "--adapter", tmp_path / "adapter"), models.logits(model, IDS))


def tuned(moxie, base, data, out, *flags):
    moxie.tune(base, data, out, "--steps", 6, "--lr", 2e-2, "--batch-size", 4, "--no-shuffle", "--schedule",
               "constant", "--warmup", 0, "--dtype", "f32", *flags)
    return out


@pytest.mark.parametrize("flags", [
    ["--rank", 4, "--alpha", 8],
    ["--rank", 16, "--alpha", 8, "--targets", r".*\.(q|k|down)_proj"],
    ["--rank", 4, "--alpha", 8, "--targets", r"(.*\.v_proj)|lm_head"],
], ids=["all-linear", "regex", "head"])
def test_ours_is_read_by_peft(moxie, tmp_path, flags):
    out = tuned(moxie, BASE, GOLDEN / "lora_curve" / "prompts.jsonl", tmp_path / "out", *flags)
    base = models.load_hf(BASE)
    before = models.logits(base, IDS)
    model = peft.PeftModel.from_pretrained(base, out).eval()
    reference = models.logits(model, IDS)
    assert relative(before, reference) > 0.05, "training changed nothing"
    assert_logits(moxie.logits(BASE, IDS, "--adapter", out), reference)


def test_an_adapter_trained_on_from_peft_stays_one(moxie, tmp_path):
    """--init-adapter with every option set: what is written keeps them, and PEFT agrees on the logits."""
    options = {"use_rslora": True, "rank_pattern": {"o_proj": 2}, "alpha_pattern": {"o_proj": 9}}
    init_adapter(models.load_hf(BASE), tmp_path / "init", **options)
    out = tuned(moxie, BASE, GOLDEN / "lora_curve" / "prompts.jsonl", tmp_path / "out", "--init-adapter",
                tmp_path / "init")
    model = peft.PeftModel.from_pretrained(models.load_hf(BASE), out).eval()
    assert_logits(moxie.logits(BASE, IDS, "--adapter", out), models.logits(model, IDS))


def test_merged_directory(moxie, tmp_path):
    adapter = GOLDEN / "lora_curve" / "adapter_final"
    moxie.run("export", BASE, "--adapter", adapter, "--merge", "--to", "hf", "--out", tmp_path / "merged")
    reference = peft.PeftModel.from_pretrained(models.load_hf(BASE), adapter).merge_and_unload().eval()
    assert_logits(models.logits(models.load_hf(tmp_path / "merged"), IDS), models.logits(reference, IDS))


@pytest.fixture(scope="module")
def smollm_adapter(moxie, smollm_gguf, tmp_path_factory):
    work = tmp_path_factory.mktemp("exchange")
    data = write_rows(work / "data.jsonl", household(24, seed=9))
    moxie.tune(smollm_gguf, data, work / "out", "--steps", 6, "--lr", 1e-3, "--batch-size", 4, "--rank", 4,
               "--schedule", "constant", "--warmup", 0)
    yield work / "out"
    shutil.rmtree(work, ignore_errors=True)


def test_llama_cpp_reads_what_is_exported(moxie, smollm_gguf, smollm, smollm_adapter, smollm_tokenizer, tmp_path):
    """The merged model as a directory (read by transformers) says what comes next; llama.cpp must say the
    same from the merged GGUF, and from the plain GGUF with the GGUF adapter beside it."""
    prompt = household(1, seed=77)[0]["prompt"]
    ids = smollm_tokenizer(prompt)["input_ids"]
    moxie.run("export", smollm_gguf, "--adapter", smollm_adapter, "--merge", "--to", "hf", "--out", tmp_path / "hf")
    merged = models.load_hf(tmp_path / "hf")
    expected = models.greedy(merged, ids, 24)
    assert expected != models.greedy(smollm, ids, 24), "the adapter changes nothing here"

    moxie.run("export", smollm_gguf, "--adapter", smollm_adapter, "--merge", "--to", "gguf", "--quant", "f32", "--out",
              tmp_path / "merged.gguf")
    llm = models.llama_cpp(tmp_path / "merged.gguf")
    gap = relative(models.llama_cpp_logits(llm, ids), models.logits(merged, ids))
    assert gap < 1e-3, f"llama.cpp's logits of the merged file differ by {gap:.1e}"
    assert models.llama_cpp_greedy(llm, ids, 24) == expected
    assert llm.tokenize(prompt.encode(), add_bos=False) == ids
    del llm

    moxie.run("export", smollm_gguf, "--to", "gguf", "--quant", "f32", "--out", tmp_path / "base.gguf")
    moxie.run("export", smollm_gguf, "--adapter", smollm_adapter, "--to", "gguf-adapter", "--out",
              tmp_path / "adapter.gguf")
    llm = models.llama_cpp(tmp_path / "base.gguf", lora_path=str(tmp_path / "adapter.gguf"))
    gap = relative(models.llama_cpp_logits(llm, ids), models.logits(merged, ids))
    assert gap < 1e-3, f"llama.cpp's logits with the adapter differ by {gap:.1e}"
    assert models.llama_cpp_greedy(llm, ids, 24) == expected


@pytest.mark.parametrize("quant, loss", [("q8_0", 0.05), ("q4_0", 0.5)])
def test_quantised_files_are_read_elsewhere(moxie, smollm_gguf, smollm, smollm_tokenizer, tmp_path, quant, loss):
    """transformers decodes our blocks to what we decode them to; llama.cpp reads them as well. It rounds
    activations to eight bits, which costs it 3% on the file that the model ships as: a wrong layout costs
    all. `loss` is what quantising again may cost."""
    ids = smollm_tokenizer("The capital of France is Paris, and the capital of Italy is")["input_ids"]
    moxie.run("export", smollm_gguf, "--to", "gguf", "--quant", quant, "--out", tmp_path / "model.gguf")
    ours = moxie.logits(tmp_path / "model.gguf", ids)
    assert_logits(ours, models.logits(models.load_gguf(tmp_path / "model.gguf"), ids))
    theirs = models.llama_cpp_logits(models.llama_cpp(tmp_path / "model.gguf"), ids)
    assert relative(theirs, ours) < 0.1
    assert relative(ours, models.logits(smollm, ids)) < loss


@pytest.mark.parametrize("options", [
    {}, {"use_rslora": True, "rank_pattern": {"o_proj": 2}, "alpha_pattern": {"o_proj": 9, "q_proj": 5}},
], ids=["plain", "rslora_and_patterns"])
def test_gguf_adapter_has_the_scale_of_peft(moxie, tmp_path, options):
    """The format cannot say alpha / sqrt(r) nor a pattern: llama.cpp must still see the right scale."""
    gguf = GOLDEN / "tiny_gguf" / "llama.gguf"
    model = init_adapter(models.plain_copy(models.load_gguf(gguf)), tmp_path / "peft", **options).eval()
    for name, p in model.named_parameters():
        if "lora_B" in name:
            p.data *= 40
    model.save_pretrained(tmp_path / "peft")
    reference = models.logits(model, IDS)
    assert_logits(moxie.logits(gguf, IDS, "--adapter", tmp_path / "peft"), reference)
    moxie.run("export", gguf, "--adapter", tmp_path / "peft", "--to", "gguf-adapter", "--out", tmp_path / "a.gguf")
    llm = models.llama_cpp(gguf, length=64, lora_path=str(tmp_path / "a.gguf"))
    assert relative(models.llama_cpp_logits(llm, IDS), reference) < 1e-4


def test_config_of_ours_names_the_base(moxie, tmp_path):
    out = tuned(moxie, BASE, GOLDEN / "lora_curve" / "prompts.jsonl", tmp_path / "out", "--rank", 2)
    config = json.loads((pathlib.Path(out) / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA" and config["r"] == 2 and config["task_type"] == "CAUSAL_LM"
    assert set(config["target_modules"]) == set(TARGETS)
    assert config["base_model_name_or_path"]
