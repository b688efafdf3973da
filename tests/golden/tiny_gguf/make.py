"""Makes the tiny GGUF checkpoints of this folder: the same tensors as a transformers model, in GGUF's names.

    python tests/golden/tiny_gguf/make.py

Each NAME.gguf stands beside NAME.golden.safetensors (as in ../tiny_models: input_ids, logits from
transformers in f32). llama's q and k rows are permuted as llama.cpp wants them (interleaved rotary
pairs), gemma's norms have their 1 added. The script checks that llama.cpp reads the files and gives
the same logits (2e-3 of their norm: ggml's products go through f16 in places).
Made with transformers 5.23.0, torch 2.15.0, gguf 0.19.0, llama-cpp-python 0.3.36.
"""
import json
import pathlib
import sys
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import gguf  # noqa: E402
import llama_cpp  # noqa: E402
import numpy as np  # noqa: E402
import tiny  # noqa: E402
import torch  # noqa: E402
from transformers import AutoConfig  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
BASE = dict(vocab_size=tiny.VOCAB, hidden_size=32, intermediate_size=32, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
            bos_token_id=1, eos_token_id=2, pad_token_id=0)
ROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 100.0}}
# llama.cpp fixes gemma 3's pattern (every sixth layer is global) and its local rotary base (10000).
GEMMA3 = dict(head_dim=16, hidden_activation="gelu_pytorch_tanh", query_pre_attn_scalar=16, sliding_window=9,
              num_hidden_layers=7, num_attention_heads=2, num_key_value_heads=1, intermediate_size=32,
              rope_parameters={"sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
                               "full_attention": {"rope_type": "default", "rope_theta": 2000.0}})
MODELS = {
    "llama": ("llama", {**BASE, **ROPE}),
    "llama_f16": ("llama", {**BASE, **ROPE, "tie_word_embeddings": True}),
    "qwen2": ("qwen2", {**BASE, **ROPE}),
    "qwen3": ("qwen3", {**BASE, **ROPE, "head_dim": 12}),
    "gemma3": ("gemma3_text", {**BASE, **GEMMA3}),
}
NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}
GEMMA_NAMES = {**NAMES, "post_attention_layernorm": "post_attention_norm",
               "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm"}


def permute(w: np.ndarray, heads: int) -> np.ndarray:
    """Halves of a head -> interleaved pairs: row (h, 2 * i + p) takes row (h, p, i)."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def gguf_name(hf: str, names: dict) -> str:
    stem, kind = hf.rsplit(".", 1)
    if stem.startswith("model.layers."):
        layer, part = stem.removeprefix("model.layers.").split(".", 1)
        return f"blk.{layer}.{names[part]}.{kind}"
    return f"{names[stem]}.{kind}"


def add_vocabulary(out: gguf.GGUFWriter) -> None:
    spec = json.loads(tiny.tokenizer().to_str())["model"]
    tokens = sorted(spec["vocab"], key=spec["vocab"].get)
    types = [gguf.TokenType.CONTROL if t in tiny.SPECIALS else gguf.TokenType.NORMAL for t in tokens]
    merges = [m if isinstance(m, str) else " ".join(m) for m in spec["merges"]]
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("gpt-2")
    out.add_token_list(tokens)
    out.add_token_types(types)
    out.add_token_merges(merges)
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    out.add_unk_token_id(3)
    out.add_pad_token_id(0)
    out.add_add_bos_token(False)


def write(path: pathlib.Path, arch: str, model, half: bool) -> None:
    config = model.config
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    ropes = config.rope_parameters
    out = gguf.GGUFWriter(path, arch)
    out.add_name("tiny")
    out.add_vocab_size(config.vocab_size)
    out.add_context_length(config.max_position_embeddings)
    out.add_embedding_length(config.hidden_size)
    out.add_block_count(config.num_hidden_layers)
    out.add_feed_forward_length(config.intermediate_size)
    out.add_head_count(heads)
    out.add_head_count_kv(kv_heads)
    out.add_key_length(head_dim)
    out.add_value_length(head_dim)
    out.add_layer_norm_rms_eps(config.rms_norm_eps)
    out.add_rope_freq_base(ropes.get("full_attention", ropes)["rope_theta"])
    out.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if half else gguf.LlamaFileType.ALL_F32)
    if arch == "llama":
        out.add_rope_dimension_count(head_dim)
    if arch == "gemma3":
        out.add_sliding_window(config.sliding_window)
    add_vocabulary(out)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        data = tensor.float().numpy()
        if arch == "llama" and ("q_proj" in name or "k_proj" in name):
            data = permute(data, heads if "q_proj" in name else kv_heads)
        if arch == "gemma3" and "norm" in name:
            data = data + 1.0
        if half and data.ndim == 2:
            data = data.astype(np.float16)
        out.add_tensor(gguf_name(name, GEMMA_NAMES if arch == "gemma3" else NAMES), np.ascontiguousarray(data))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def llama_cpp_logits(path: pathlib.Path, ids: list[int]) -> np.ndarray:
    llm = llama_cpp.Llama(str(path), n_ctx=64, n_batch=64, logits_all=True, verbose=False, n_threads=1,
                          type_k=0, type_v=0)  # 0 is f32: the cache loses nothing
    llm.eval(ids)
    return np.array(llm.scores[:len(ids)])


def main() -> None:
    torch.set_num_threads(1)
    for name, (model_type, options) in MODELS.items():
        seed = zlib.crc32(name.encode())
        half = name.endswith("f16")
        config = AutoConfig.for_model(model_type, **json.loads(json.dumps(options)))
        model = tiny.build(config, seed, torch.float16 if half else torch.float32)
        ids = tiny.golden_ids(seed)
        tensors, metadata = tiny.golden(model, ids)
        arch = "gemma3" if model_type == "gemma3_text" else model_type
        path = HERE / f"{name}.gguf"
        write(path, arch, model, half)
        theirs = llama_cpp_logits(path, ids.tolist())
        ours = tensors["logits"].numpy()
        gap = np.linalg.norm(theirs - ours) / np.linalg.norm(ours)
        print(f"{name:12s} {path.stat().st_size / 1024:7.1f} KiB, llama.cpp differs by {gap:.1e}")
        assert gap < 2e-3, name
        tiny.save_golden(HERE, tensors, metadata)
        (HERE / "golden.safetensors").rename(HERE / f"{name}.golden.safetensors")


if __name__ == "__main__":
    main()
