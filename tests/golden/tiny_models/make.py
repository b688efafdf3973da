"""Makes the tiny random checkpoints of this folder and their golden logits with transformers.

    python tests/golden/tiny_models/make.py [NAME ...]

Each folder NAME holds config.json and model.safetensors (or shards) as transformers writes them, and
golden.safetensors: input_ids [40], logits [40, vocab], loss [1] (mean next-token cross-entropy),
grad_norm [1] (of that loss over all parameters), all f32 with eager attention, and in the metadata the
gradient norm of each parameter. For each case the script also checks that the option it stands for
matters: the logits without it must differ. `tokenizer/` holds a tokenizer for them all (128 tokens).
Made with transformers 5.23.0, torch 2.15.0, safetensors 0.8.0, tokenizers 0.23.3.
"""
import json
import pathlib
import shutil
import sys
import zlib
from dataclasses import dataclass, field

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import tiny  # noqa: E402
import torch  # noqa: E402
from transformers import AutoConfig  # noqa: E402
from transformers.utils.logging import disable_progress_bar  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
BF16, F16, F32 = torch.bfloat16, torch.float16, torch.float32
BASE = dict(vocab_size=tiny.VOCAB, hidden_size=32, intermediate_size=24, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
            bos_token_id=1, eos_token_id=2, pad_token_id=0)


@dataclass
class Case:
    name: str
    model_type: str
    options: dict = field(default_factory=dict)
    without: dict | None = None  # config keys that switch the option off; the logits must then differ
    dtype: torch.dtype = F32
    shard: bool = False
    legacy: bool = False  # config.json in the keys of transformers 4 (rope_theta, rope_scaling, torch_dtype)


def rope(kind: str, theta: float = 100.0, **more) -> dict:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": theta, **more}}


PLAIN = rope("default")
LLAMA3 = dict(factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)
LONG = dict(short_factor=[1.0, 1.1, 1.3, 1.6], long_factor=[1.2, 1.9, 3.5, 6.0],
            original_max_position_embeddings=32)
SHORT = {**LONG, "original_max_position_embeddings": 48}
GEMMA = dict(head_dim=16, num_attention_heads=4, hidden_activation="gelu_pytorch_tanh",
             query_pre_attn_scalar=24, sliding_window=9)
GEMMA3_ROPE = {"rope_parameters": {"sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
                                   "full_attention": {"rope_type": "default", "rope_theta": 2000.0}}}
GEMMA3_LINEAR = {"rope_parameters": {
    "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 2000.0}}}
THREE = dict(layer_types=["sliding_attention", "sliding_attention", "full_attention"], num_hidden_layers=3)
GRANITE = dict(embedding_multiplier=3.0, logits_scaling=1.5, residual_multiplier=0.6, attention_multiplier=0.2)

CASES = [
    Case("llama", "llama", PLAIN),
    Case("llama_tied", "llama", {**rope("default", 10000.0), "tie_word_embeddings": True}, dtype=BF16),
    Case("llama_one_kv_head", "llama", {**PLAIN, "num_key_value_heads": 1}, dtype=BF16),
    Case("llama_no_groups", "llama", {**PLAIN, "num_key_value_heads": 4}, dtype=BF16),
    Case("llama_head_dim", "llama", {**PLAIN, "head_dim": 12}, dtype=BF16),
    Case("llama_attention_bias", "llama", {**PLAIN, "attention_bias": True}, dtype=BF16),
    Case("llama_mlp_bias", "llama", {**PLAIN, "mlp_bias": True}, dtype=BF16),
    Case("llama_rope_linear", "llama", rope("linear", factor=4.0), PLAIN, dtype=BF16),
    Case("llama_rope_dynamic", "llama", {**rope("dynamic", factor=2.0), "max_position_embeddings": 16}, PLAIN,
         dtype=BF16),
    Case("llama_rope_yarn", "llama", rope("yarn", factor=4.0, original_max_position_embeddings=16), PLAIN,
         dtype=BF16),
    Case("llama_rope_yarn_mscale", "llama",
         rope("yarn", factor=8.0, original_max_position_embeddings=16, beta_fast=8.0, beta_slow=0.5,
              mscale=1.5, mscale_all_dim=0.7, truncate=False), PLAIN, dtype=BF16),
    Case("llama_rope_llama3", "llama", rope("llama3", **LLAMA3), PLAIN, dtype=BF16),
    Case("llama_legacy_config", "llama", rope("llama3", **LLAMA3), PLAIN, dtype=F16, legacy=True),
    Case("llama_sharded", "llama", PLAIN, shard=True),
    Case("mistral_window", "mistral", {**PLAIN, "sliding_window": 7}, {"sliding_window": None}),
    Case("mistral_head_dim", "mistral", {**PLAIN, "sliding_window": None, "head_dim": 12}, dtype=BF16),
    Case("qwen2", "qwen2", PLAIN),
    Case("qwen2_tied_window", "qwen2",
         {**PLAIN, "tie_word_embeddings": True, "use_sliding_window": True, "sliding_window": 6,
          "max_window_layers": 1}, {"use_sliding_window": False, "layer_types": None}, dtype=BF16),
    Case("qwen3", "qwen3", {**PLAIN, "head_dim": 12}),
    Case("qwen3_tied_bias", "qwen3", {**PLAIN, "head_dim": 8, "tie_word_embeddings": True,
                                      "attention_bias": True}, dtype=BF16),
    Case("gemma2", "gemma2", {**PLAIN, **GEMMA, "attn_logit_softcapping": 3.0, "final_logit_softcapping": 5.0},
         {"attn_logit_softcapping": None}),
    Case("gemma2_no_caps", "gemma2", {**PLAIN, **GEMMA, "attn_logit_softcapping": None,
                                      "final_logit_softcapping": None}, {"sliding_window": 64}, dtype=BF16),
    Case("gemma3", "gemma3_text", {**GEMMA3_ROPE, **GEMMA, **THREE}, {"sliding_window": 64}),
    Case("gemma3_rope_linear", "gemma3_text", {**GEMMA3_LINEAR, **GEMMA, **THREE}, GEMMA3_ROPE, dtype=BF16),
    Case("gemma3_legacy_config", "gemma3_text", {**GEMMA3_LINEAR, **GEMMA, **THREE}, GEMMA3_ROPE, dtype=BF16,
         legacy=True),
    Case("phi3", "phi3", PLAIN),
    Case("phi3_partial", "phi3", rope("default", partial_rotary_factor=0.5), PLAIN, dtype=BF16),
    Case("phi3_longrope_long", "phi3", {**rope("longrope", **LONG), "original_max_position_embeddings": 32},
         PLAIN, dtype=BF16),
    Case("phi3_longrope_short", "phi3", {**rope("longrope", **SHORT), "original_max_position_embeddings": 48},
         PLAIN, dtype=BF16),
    Case("phi3_window", "phi3", {**PLAIN, "sliding_window": 7}, {"sliding_window": None}, dtype=BF16),
    Case("olmo2", "olmo2", PLAIN),
    Case("granite", "granite", {**PLAIN, **GRANITE}, {"attention_multiplier": 1.0}),
    Case("granite_tied_bias", "granite", {**PLAIN, **GRANITE, "tie_word_embeddings": True,
                                          "attention_bias": True, "mlp_bias": True}, dtype=BF16),
    Case("smollm3", "smollm3", {**PLAIN, "num_hidden_layers": 4, "intermediate_size": 20,
                                "tie_word_embeddings": True},
         {"no_rope_layers": [1, 1, 1, 1]}),
]


def config_of(case: Case, changes: dict | None = None):
    options = {**BASE, **case.options, **(changes or {})}
    return AutoConfig.for_model(case.model_type, **json.loads(json.dumps(options)))


def to_legacy(folder: pathlib.Path) -> None:
    """Rewrites config.json in the keys that checkpoints written by transformers 4 have."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    params = config.pop("rope_parameters")
    if "full_attention" in params:
        config["rope_local_base_freq"] = params["sliding_attention"]["rope_theta"]
        config["sliding_window_pattern"] = len(config.pop("layer_types"))
        params = params["full_attention"]
    config["rope_theta"] = params.pop("rope_theta")
    if config["model_type"] != "gemma3_text":
        params["type"] = params.pop("rope_type")  # the older of the two spellings
    config["rope_scaling"] = params
    config["torch_dtype"] = config.pop("dtype")
    path.write_text(json.dumps(config, indent=2) + "\n")


def differs(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).norm() / a.norm()).item()


def make(case: Case) -> int:
    seed = zlib.crc32(case.name.encode())  # by name: a new case leaves the others as they are
    folder = HERE / case.name
    shutil.rmtree(folder, ignore_errors=True)
    model = tiny.build(config_of(case), seed, case.dtype)
    ids = tiny.golden_ids(seed)
    tensors, metadata = tiny.golden(model, ids)
    logits = tensors["logits"]
    assert logits.std() > 0.5 and logits.isfinite().all(), (case.name, logits.std())

    if case.without is not None:
        other = tiny.build(config_of(case, case.without), seed, case.dtype)
        gap = differs(logits, other(input_ids=ids[None]).logits[0])
        assert gap > 1e-2, f"{case.name}: the option changes the logits by only {gap:.2e}"

    folder.mkdir()
    stored = model.to(case.dtype)
    stored.config.dtype = case.dtype
    size = "30KB" if case.shard else "50GB"
    stored.save_pretrained(folder, max_shard_size=size)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if case.legacy:
        to_legacy(folder)
    # What was saved, read back as a user would, gives the golden logits.
    again = tiny.load(folder)(input_ids=ids[None]).logits[0]
    assert differs(logits, again) < 1e-6, f"{case.name}: reload differs by {differs(logits, again):.2e}"
    tiny.save_golden(folder, tensors, metadata)
    shards = len(list(folder.glob("model*.safetensors")))
    assert (shards > 1) == case.shard, (case.name, shards)
    return sum(p.stat().st_size for p in folder.iterdir())


def main() -> None:
    torch.set_num_threads(1)
    disable_progress_bar()
    chosen = set(sys.argv[1:])
    tiny.save_tokenizer(HERE / "tokenizer")
    total = 0
    for case in CASES:
        if chosen and case.name not in chosen:
            continue
        size = make(case)
        total += size
        print(f"{case.name:28s} {size / 1024:7.1f} KiB", flush=True)
    print(f"{'total':28s} {total / 1024:7.1f} KiB")


if __name__ == "__main__":
    main()
