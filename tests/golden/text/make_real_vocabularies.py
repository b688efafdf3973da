#!/usr/bin/env python3
"""Writes real_vocabularies.json: the ids llama.cpp gives with the vocabularies of two published models, for
texts.py and for longer texts that are heavy in languages, white space and emoji.

Prints where transformers reads the same file another way.
Usage: make_real_vocabularies.py [output]
"""
import importlib.metadata
import json
import pathlib
import subprocess
import sys

from llama_cpp import Llama
from transformers import AutoTokenizer

from texts import TEXTS

FETCH = pathlib.Path(__file__).resolve().parents[3] / "tools" / "fetch_model.sh"
MODELS = ["smollm2", "gemma3"]  # as fetch_model.sh names them
HEAVY = [
    "Le c\u0153ur d\u00e9\u00e7u mais l'\u00e2me plut\u00f4t na\u00efve, Lou\u00ffs r\u00eava de crapa\u00fcter en cano\u00eb. Falsches \u00dcben von Xylophonmusik "
    "qu\u00e4lt jeden gr\u00f6\u00dferen Zwerg. \u0421\u044a\u0435\u0448\u044c \u0436\u0435 \u0435\u0449\u0451 \u044d\u0442\u0438\u0445 \u043c\u044f\u0433\u043a\u0438\u0445 \u0444\u0440\u0430\u043d\u0446\u0443\u0437\u0441\u043a\u0438\u0445 \u0431\u0443\u043b\u043e\u043a. "
    "\u0395\u03c0\u03af\u03c3\u03c4\u03b1\u03bc\u03b1\u03b9 \u05d3\u05d2 \u05e1\u05e7\u05e8\u05df \u0635\u0650\u0641 \u062e\u064e\u0644\u0642\u064e \u0939\u093f\u0928\u094d\u0926\u0940 \u09ac\u09be\u0982\u09b2\u09be \u0ba4\u0bae\u0bbf\u0bb4\u0bcd \u1019\u103c\u1014\u103a\u1019\u102c \u10e5\u10d0\u10e0\u10d7\u10e3\u10da\u10d8 "
    "\u3044\u308d\u306f\u306b\u307b\u3078\u3068 \u7a81\u7136\u306e\u51fa\u6765\u4e8b\u3002 \u6211\u80fd\u541e\u4e0b\u73bb\u7483\u800c\u4e0d\u4f24\u8eab\u4f53\u3002 \ub2e4\ub78c\uc950 \ud5cc \ucc57\ubc14\ud034\uc5d0 \ud0c0\uace0\ud30c.",
    "".join(" " * n + "x" for n in range(33)) + "".join("\n" * n + "y" for n in range(17)),
    "".join("\t" * n + "z \t" for n in range(9)) + " \n" * 9 + "\r\n" * 5 + " \u00a0\u2002\u2009\u3000\u2028\u0085 end",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466\U0001f9d1\U0001f3fe\u200d\U0001f680\U0001f1fa\U0001f1f8\U0001f1ef\U0001f1f5\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
    "\u270c\U0001f3ff\u2600\ufe0e\u2600\ufe0f 1\ufe0f\u20e3 \U0001f602\U0001f602\U0001f602 \U0001fae0\U0001fab8\U0001f6dd \u2615\ufe0ftext\U0001f525text \u00a9\u00ae\u2122\u2192\u221e",
    "e\u0301 A\u030a o\u0302\u0301 \u1112\u1161\u11ab \ufb01 \u212b \u2460\u00bd Z\u0351\u036b\u0343a\u0326l\u0321g\u0337o\u0334",
]
ALL = TEXTS + HEAVY


def compare(folder, name, model):
    """Prints where transformers, reading the vocabulary of the same file, goes another way. What is
    known of that: its converter forgets the digits rule of SmolLM2 and orders Gemma's merges of runs
    of spaces by another rule than SentencePiece."""
    try:
        other = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    except Exception as e:
        print(name, "is not read by transformers:", str(e)[:100])
        return
    for text in ALL:
        mine = model.tokenize(text.encode(), add_bos=False, special=True)
        theirs = other(text, add_special_tokens=False)["input_ids"]
        if theirs != mine:
            print(name, repr(text[:40]), theirs, mine)


def main():
    models = {}
    for name in MODELS:
        path = pathlib.Path(subprocess.check_output([FETCH, name], text=True).strip())
        model = Llama(str(path), vocab_only=True, verbose=False)
        ids = [model.tokenize(t.encode(), add_bos=True, special=True) for t in ALL]
        compare(path.parent, path.name, model)
        models[name] = ids
    made_with = {p: importlib.metadata.version(p) for p in ("llama_cpp_python", "transformers")}
    out = {"made_with": made_with, "texts": ALL, "models": models}
    default = pathlib.Path(__file__).parent / "real_vocabularies.json"
    path = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    path.write_text(json.dumps(out, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
