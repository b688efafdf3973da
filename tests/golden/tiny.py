"""Shared by the golden makers: random weights that hide nothing, a 128-token tokenizer, golden files.

Every weight is random, norms and biases included, and large enough that attention is not uniform and
logits are not flat: a formula that drops a bias, a multiplier or a window changes the logits.
"""
import json
import math
import pathlib

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM

VOCAB = 128
LENGTH = 40  # tokens in the golden sequence: longer than every window and every original context
SPECIALS = ["<pad>", "<s>", "</s>", "<unk>"]

CORPUS = (
    "turn on the light in the kitchen. turn off the lamp in the hall. set the heat to 21 in the room. "
    "what is the time now? it is half past ten. play a song by the sea; stop the song, and lock the door! "
    "the cat sat on the mat and the dog ran to the park. one two three four five six seven eight nine ten. "
    "Open the blinds. Close the gate. 0 1 2 3 4 5 6 7 8 9 {\"device\": \"lamp\", \"state\": \"on\"}\n"
) * 4


def tokenizer() -> Tokenizer:
    """Byte-level BPE over ASCII text with exactly VOCAB entries."""
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCAB, special_tokens=SPECIALS, initial_alphabet=[],
                                  show_progress=False)
    tok.train_from_iterator([CORPUS], trainer)
    assert tok.get_vocab_size() == VOCAB, tok.get_vocab_size()
    return tok


def save_tokenizer(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer().save(str(folder / "tokenizer.json"), pretty=False)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>",
        "unk_token": "<unk>", "pad_token": "<pad>", "add_bos_token": False, "add_eos_token": False,
        "clean_up_tokenization_spaces": False, "model_max_length": 1024,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")


def fill(model: torch.nn.Module, seed: int) -> None:
    """Random values for every parameter; gemma's norms multiply by 1 + weight, so theirs centre on 0."""
    gemma = model.config.model_type.startswith("gemma")
    gen = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=gen, dtype=torch.float32)
            if "norm" in name:
                p.copy_(0.3 * noise + (0.0 if gemma else 1.0))
            elif p.dim() == 1:
                p.copy_(0.4 * noise)
            elif "embed_tokens" in name:
                p.copy_(0.5 * noise)
            else:
                gain = 1.6 if any(k in name for k in ("q_proj", "k_proj", "qkv_proj")) else 1.1
                p.copy_(noise * gain / math.sqrt(p.shape[1]))


def build(config, seed: int, dtype=torch.float32):
    """A model in f32 whose weights are exactly representable in `dtype`."""
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32)
    fill(model, seed)
    model.tie_weights()
    if dtype != torch.float32:
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(p.to(dtype).float())
    return model.eval()


def load(folder: pathlib.Path):
    config = AutoConfig.from_pretrained(folder)
    return AutoModelForCausalLM.from_pretrained(
        folder, config=config, attn_implementation="eager", dtype=torch.float32).eval()


def golden_ids(seed: int, vocab: int = VOCAB, length: int = LENGTH) -> torch.Tensor:
    gen = torch.Generator().manual_seed(seed + 1000)
    return torch.randint(4, vocab, (length,), generator=gen)


def golden(model, ids: torch.Tensor) -> tuple[dict, dict]:
    """Logits of one sequence, its mean next-token loss, and the norm of the loss's gradient by parameter."""
    model.zero_grad()
    logits = model(input_ids=ids[None], use_cache=False).logits[0]
    loss = torch.nn.functional.cross_entropy(logits[:-1], ids[1:])
    loss.backward()
    norms = {n: p.grad.double().norm().item() for n, p in model.named_parameters() if p.grad is not None}
    total = math.sqrt(sum(v * v for v in norms.values()))
    tensors = {"input_ids": ids.to(torch.int32), "logits": logits.detach().float().contiguous(),
               "loss": loss.detach().float().reshape(1),
               "grad_norm": torch.tensor([total], dtype=torch.float32)}
    metadata = {"grad_norms": json.dumps({k: float(f"{v:.7g}") for k, v in norms.items()})}
    return tensors, metadata


def save_golden(folder: pathlib.Path, tensors: dict, metadata: dict) -> None:
    import transformers
    metadata = {"made_with": f"transformers {transformers.__version__}, torch {torch.__version__}", **metadata}
    save_file(tensors, str(folder / "golden.safetensors"), metadata=metadata)
