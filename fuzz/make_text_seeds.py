#!/usr/bin/env python3
"""Writes the seeds of fuzz_template and fuzz_tokenizer from the golden files of tests/golden/text."""
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).parent
GOLDEN = HERE / "../tests/golden/text"
sys.path.insert(0, str(GOLDEN))
from snippets import SNIPPETS  # noqa: E402

PARTS = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [],
         "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None}
SPECIAL = {"id": 0, "content": "<s>", "single_word": False, "lstrip": False, "rstrip": False,
           "normalized": False, "special": True}
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
              "use_regex": True}
FILES = {
    "bpe": {**PARTS, "added_tokens": [SPECIAL], "pre_tokenizer": BYTE_LEVEL, "decoder": BYTE_LEVEL,
            "model": {"type": "BPE", "vocab": {"<s>": 0, "H": 1, "i": 2, "Hi": 3},
                      "merges": ["H i"]}},
    "unigram": {**PARTS, "normalizer": {"type": "Replace", "pattern": {"String": " "},
                                        "content": "\u2581"},
                "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": False,
                          "vocab": [["<unk>", 0.0], ["H", -1.0], ["i", -2.0], ["\u2581", -3.0]]}},
    "wordpiece": {**PARTS, "normalizer": {"type": "BertNormalizer", "clean_text": True,
                                          "handle_chinese_chars": True, "strip_accents": None,
                                          "lowercase": True},
                  "pre_tokenizer": {"type": "BertPreTokenizer"},
                  "model": {"type": "WordPiece", "unk_token": "[UNK]", "max_input_chars_per_word": 9,
                            "continuing_subword_prefix": "##",
                            "vocab": {"[UNK]": 0, "hi": 1, "##12": 2}}},
    "split": {**PARTS, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": "\\p{N}{1,3}| ?[^\\s]+|\\s+(?!\\S)"},
         "behavior": "Isolated", "invert": False}, BYTE_LEVEL]},
        "post_processor": {"type": "TemplateProcessing", "single": [
            {"SpecialToken": {"id": "a", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"a": {"id": "a", "ids": [0], "tokens": ["a"]}}},
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}},
}
VOCABS = {
    "gpt2": "gpt2\nsmollm\n3a<s>\n1aH\n1ai\n1aHi\nm H i\n",
    "llama": "llama\n\n3a<s>\n2a<unk>\n1c\u2581\n1bH\n1di\n1bHi\n6a<0x0A>\n4a<u>\n",
    "t5": "t5\n\n3a</s>\n2b<unk>\n1c\u2581\n1dH\n1ei\n",
}


def write(folder, name, data):
    path = HERE / "corpus" / folder
    path.mkdir(parents=True, exist_ok=True)
    (path / name).write_bytes(data)


def main():
    for source in (GOLDEN / "dialects").glob("*.jinja"):
        write("template", source.stem, source.read_bytes())
    for at, snippet in enumerate(SNIPPETS):
        write("template", f"snippet_{at:03}", snippet.encode())
    for name, file in FILES.items():
        write("tokenizer", name, json.dumps(file, ensure_ascii=False).encode())
    for name, text in VOCABS.items():
        write("tokenizer", "vocab_" + name, b"v" + text.encode())


if __name__ == "__main__":
    main()
