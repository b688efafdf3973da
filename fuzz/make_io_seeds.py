#!/usr/bin/env python3
"""Writes the seeds of the GGUF and safetensors fuzzers into corpus/. Plain Python 3.8 or later."""
import json
import pathlib
import struct

HERE = pathlib.Path(__file__).resolve().parent / "corpus"
U8, I8, U16, I16, U32, I32, F32, BOOL, STR, ARR, U64, I64, F64 = range(13)
PACK = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "B", U64: "Q",
        I64: "q", F64: "d"}


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def item(kind, value):
    return text(value) if kind == STR else struct.pack("<" + PACK[kind], value)


def scalar(key, kind, value):
    return text(key) + struct.pack("<I", kind) + item(kind, value)


def array(key, kind, values):
    head = text(key) + struct.pack("<IIQ", ARR, kind, len(values))
    return head + b"".join(item(kind, value) for value in values)


def gguf(version, entries, tensors=(), alignment=32):
    infos, data = b"", b""
    for name, ne, kind, content in tensors:
        data += b"\0" * (-len(data) % alignment)
        infos += text(name) + struct.pack("<I", len(ne)) + struct.pack(f"<{len(ne)}Q", *ne)
        infos += struct.pack("<IQ", kind, len(data))
        data += content
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(entries)) + b"".join(entries) + infos
    return head + (b"\0" * (-len(head) % alignment) + data if tensors else b"")


def safetensors(tensors, metadata=None):
    header, data = {}, b""
    if metadata:
        header["__metadata__"] = metadata
    for name, dtype, shape, content in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    head = json.dumps(header).encode()
    return struct.pack("<Q", len(head)) + head + data


def main():
    every = [scalar("k%d" % kind, kind, 1) for kind in PACK] + [scalar("s", STR, "x")]
    arrays = [array("a%d" % kind, kind, [1, 0]) for kind in PACK]
    model = [scalar("general.architecture", STR, "llama"), scalar("llama.block_count", U32, 1),
             array("tokenizer.ggml.tokens", STR, ["a", "<0x41>"]), array("tokenizer.ggml.scores", F32, [0, 1]),
             array("tokenizer.ggml.token_type", I32, [1, 6]), array("tokenizer.ggml.merges", STR, ["a b"])]
    weights = [("w", (32, 2), 3, bytes(40)), ("n", (4,), 0, bytes(16)), ("h", (2, 2), 1, bytes(8)),
               ("q", (32,), 8, bytes(34))]
    seeds = {
        "gguf/empty": gguf(3, []),
        "gguf/every_type": gguf(3, every),
        "gguf/arrays": gguf(2, arrays),
        "gguf/model": gguf(3, model, weights),
        "gguf/aligned": gguf(3, [scalar("general.alignment", U32, 64)], weights, 64),
        "safetensors/empty": safetensors([]),
        "safetensors/types": safetensors([("a", "F32", [2, 2], bytes(16)), ("b", "BF16", [3], bytes(6)),
                                          ("c", "F16", [], bytes(2)), ("d", "I64", [1], bytes(8)),
                                          ("e", "F4", [2], bytes(1)), ("z", "U8", [0, 3], b"")],
                                         {"format": "pt"}),
        "safetensors_index/plain": json.dumps({"metadata": {"total_size": 4}, "weight_map": {
            "a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}).encode(),
        "safetensors_index/odd": b'{"x":[{"weight_map":{}},null,1.5,true,-1,"s"],"weight_map":{}}',
    }
    for name, content in seeds.items():
        path = HERE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


if __name__ == "__main__":
    main()
