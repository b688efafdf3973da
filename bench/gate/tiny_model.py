"""A model small enough for valgrind, written with the standard library alone: the shapes of a SmolLM2 in
small, random weights that are the same everywhere, and the tests' tokenizer of 128 tokens."""
import array
import json
import pathlib
import random
import shutil

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOKENIZER = ROOT / "tests/golden/tiny_models/tokenizer"
LAYERS, WIDTH, GATED, HEADS, KV_HEADS, VOCAB = 2, 256, 512, 4, 2, 128
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "float32", "hidden_act": "silu",
    "hidden_size": WIDTH, "intermediate_size": GATED, "num_hidden_layers": LAYERS, "vocab_size": VOCAB,
    "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": WIDTH // HEADS,
    "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True,
    "attention_bias": False, "mlp_bias": False, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}


def shapes():
    kv = WIDTH // HEADS * KV_HEADS
    yield "model.embed_tokens.weight", (VOCAB, WIDTH)
    for layer in range(LAYERS):
        begin = f"model.layers.{layer}."
        yield begin + "input_layernorm.weight", (WIDTH,)
        yield begin + "post_attention_layernorm.weight", (WIDTH,)
        for name, shape in (("self_attn.q_proj", (WIDTH, WIDTH)), ("self_attn.k_proj", (kv, WIDTH)),
                            ("self_attn.v_proj", (kv, WIDTH)), ("self_attn.o_proj", (WIDTH, WIDTH)),
                            ("mlp.gate_proj", (GATED, WIDTH)), ("mlp.up_proj", (GATED, WIDTH)),
                            ("mlp.down_proj", (WIDTH, GATED))):
            yield f"{begin}{name}.weight", shape
    yield "model.norm.weight", (WIDTH,)


def write(folder):
    """A Hugging Face folder that Moxie reads."""
    folder.mkdir()
    for file in TOKENIZER.iterdir():
        shutil.copy(file, folder)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    rng, header, data = random.Random(1), {}, bytearray()
    for name, shape in shapes():
        if len(shape) == 1:
            values = array.array("f", [1.0] * shape[0])
        else:
            values = array.array("f", (rng.random() / 4 - 0.125 for _ in range(shape[0] * shape[1])))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + 4 * len(values)]}
        data += values.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
