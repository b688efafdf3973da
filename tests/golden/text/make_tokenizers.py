#!/usr/bin/env python3
"""Writes tokenizers.json: small vocabularies of each kind, and the ids llama.cpp gives with them.

Made with llama-cpp-python, gguf, tokenizers and sentencepiece, whose versions go into the file.
Usage: make_tokenizers.py [output]
"""
import importlib.metadata
import io
import json
import pathlib
import re
import sys
import tempfile

import gguf
import sentencepiece
from llama_cpp import Llama
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from texts import TEXTS

HERE = pathlib.Path(__file__).parent
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


def known_pre_tokenizers():
    source = (HERE / "../../../rust/moxie_text/src/pre_tokenizers.rs").read_text()
    table = source[source.index("static TABLE"):source.index("pub fn rules")]
    table = re.sub(r'(?<=[\[\s])r"[^"]*"', "", table)
    return sorted(set(re.findall(r'"([^"]*)"', table)) - {""})


def byte_level_vocabulary():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(vocab_size=520, special_tokens=special, show_progress=False,
                                  max_token_length=12,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    # Words, pairs of words and white space: merges that cross what the rules cut are wanted. No
    # merge may spell </s>: llama.cpp takes a token of that text for special.
    words = [w for text in TEXTS if "</s>" not in text
             for w in re.findall(r"\S+\s\S+|\s+|\S+", text)]
    tokenizer.train_from_iterator(words * 3, trainer)
    saved = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(saved["vocab"], key=saved["vocab"].get) + ["<|user|>", ""]
    types = [CONTROL if t in special else NORMAL for t in tokens]
    types[-2] = USER_DEFINED
    merges = [" ".join(m) for m in saved["merges"]]
    return {"model": "gpt2", "tokens": tokens, "types": types, "merges": merges,
            "bos": 0, "eos": 2}


def sentencepiece_vocabulary(kind):
    model = io.BytesIO()
    lines = [line for text in TEXTS for line in text.split("\n") if "<" not in line]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines * 20), model_writer=model, model_type=kind, vocab_size=640,
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
        hard_vocab_limit=False, character_coverage=0.98, user_defined_symbols=["<|user|>"],
        minloglevel=2)
    sp = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    kinds = [(sp.is_unknown, UNKNOWN), (sp.is_control, CONTROL), (sp.is_unused, UNUSED),
             (sp.is_byte, BYTE)]
    count = sp.get_piece_size()
    types = [next((t for is_it, t in kinds if is_it(i)), NORMAL) for i in range(count)]
    tokens = [sp.id_to_piece(i) for i in range(count)]
    types[tokens.index("<|user|>")] = USER_DEFINED
    return {"model": "llama" if kind == "bpe" else "t5", "tokens": tokens, "types": types,
            "scores": [sp.get_score(i) for i in range(count)], "unk": sp.unk_id(),
            "bos": sp.bos_id(), "eos": sp.eos_id()}


def write_gguf(path, vocab, settings):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(8)
    writer.add_feed_forward_length(8)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model(vocab["model"])
    if "pre" in settings:
        writer.add_tokenizer_pre(settings["pre"])
    writer.add_token_list(vocab["tokens"])
    writer.add_token_types(vocab["types"])
    writer.add_token_scores(vocab.get("scores", [0.0] * len(vocab["tokens"])))
    if "merges" in vocab:
        writer.add_token_merges(vocab["merges"])
    writer.add_bos_token_id(vocab["bos"])
    writer.add_eos_token_id(vocab["eos"])
    if "unk" in vocab:
        writer.add_unk_token_id(vocab["unk"])
    for key in ("add_bos", "add_eos"):
        getattr(writer, f"add_{key}_token")(settings[key])
    if "add_space_prefix" in settings:
        writer.add_add_space_prefix(settings["add_space_prefix"])
    if "remove_extra_whitespaces" in settings:
        writer.add_remove_extra_whitespaces(settings["remove_extra_whitespaces"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# Where llama.cpp's matcher approximates the published rule (combining marks), or takes a byte token
# for the text that spells it: text numbers left out.
MARKS = {6}
LEFT_OUT = {**{pre: MARKS for pre in ("tekken", "gpt-4o", "llama4", "kanana2", "talkie",
                                      "minimax-m2")}, "t5": {10}}


def ids(vocab, settings, parse_special):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "vocab.gguf"
        write_gguf(path, vocab, settings)
        model = Llama(str(path), vocab_only=True, verbose=False)
        left_out = LEFT_OUT.get(settings.get("pre", vocab["model"]), set())
        return [None if i in left_out else
                model.tokenize(t.encode(), add_bos=True, special=parse_special)
                for i, t in enumerate(TEXTS)]


def main():
    vocabs = {"bytes": byte_level_vocabulary(), "bpe": sentencepiece_vocabulary("bpe"),
              "unigram": sentencepiece_vocabulary("unigram")}
    cases = []

    def add(vocab, parse_special, **settings):
        got = ids(vocabs[vocab], settings, parse_special)
        for case in cases:  # many names share their rules
            same = case["vocab"] == vocab and case["parse_special"] == parse_special
            if same and case["ids"] == got and "pre" in settings:
                case["pres"].append(settings["pre"])
                return
        pres = [settings.pop("pre")] if "pre" in settings else []
        cases.append({"vocab": vocab, "parse_special": parse_special, "settings": settings,
                      "pres": pres, "ids": got})

    for pre in known_pre_tokenizers():
        add("bytes", True, pre=pre, add_bos=True, add_eos=False)
    add("bytes", False, pre="smollm", add_bos=False, add_eos=False)
    for prefix in (True, False):
        for parse_special in (True, False):
            add("bpe", parse_special, add_space_prefix=prefix, add_bos=True, add_eos=False)
    add("bpe", True, add_space_prefix=True, add_bos=False, add_eos=True)
    add("unigram", True, add_space_prefix=True, remove_extra_whitespaces=True, add_bos=False,
        add_eos=True)
    add("unigram", True, add_space_prefix=False, remove_extra_whitespaces=False, add_bos=False,
        add_eos=False)
    made_with = {p: importlib.metadata.version(p)
                 for p in ("llama_cpp_python", "gguf", "tokenizers", "sentencepiece")}
    out = {"made_with": made_with, "texts": TEXTS, "vocabs": vocabs, "cases": cases}
    path = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "tokenizers.json"
    path.write_text(json.dumps(out, ensure_ascii=False, separators=(",", ":")) + "\n")
    print(len(cases), "cases,", path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
