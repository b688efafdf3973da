"""Golden blocks of every storage format, for tests/quant/format_golden_test.cpp.

Made with gguf 0.19.0 (gguf.quants), numpy, and llama-cpp-python 0.3.36 (libggml, for the error of
its own encoders). Per format F:
  F.blocks   random valid blocks; F.f32 what gguf decodes them to
  F.encoded  what gguf encodes input.f32 to, where gguf defines an encoder
errors.json holds the rmse that libggml's reference encoders leave on input.f32.
Run: python make.py (in this folder).
"""
import ctypes
import json
import pathlib

import gguf
import llama_cpp
import numpy as np

HERE = pathlib.Path(__file__).parent
TYPES = gguf.GGMLQuantizationType
NAMES = ["f16", "bf16", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k",
         "q6_k", "iq4_nl", "iq4_xs", "tq1_0", "tq2_0", "mxfp4"]
# Where the f16 scales of a block stand: they are kept finite, the other bytes are random.
HALVES = {"q4_0": [0], "q4_1": [0, 2], "q5_0": [0], "q5_1": [0, 2], "q8_0": [0], "q2_k": [80, 82],
          "q3_k": [108], "q4_k": [0, 2], "q5_k": [0, 2], "q6_k": [208], "iq4_nl": [0],
          "iq4_xs": [0], "tq1_0": [52], "tq2_0": [64]}
ENCODED = ["f16", "bf16", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "tq2_0"]
MEASURED = ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q4_k", "q6_k"]


def main():
    rng = np.random.default_rng(7)
    source = rng.standard_normal(2048).astype(np.float32)
    source[:256] = np.abs(source[:256])  # one sign only
    source[256:288] = 0                  # an empty block
    source[512:768] = rng.integers(-1, 2, 256) * 0.75  # ternary
    source.tofile(HERE / "input.f32")
    library = pathlib.Path(llama_cpp.__file__).parent / "lib" / "libggml-base.so"
    ggml = ctypes.CDLL(str(library))
    ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
    errors = {}
    for name in NAMES:
        kind = TYPES[name.upper()]
        block, size = gguf.GGML_QUANT_SIZES[kind]
        count = 512 // block
        if name in ("f16", "bf16"):
            data = np.arange(65536, dtype=np.uint16)[::97].copy()
            data = data[(data & 0x7C00) != 0x7C00] if name == "f16" else data[(data & 0x7F80) != 0x7F80]
            data = data.view(np.uint8)
            # gguf decodes f16 by a numpy view
            values = (data.view(np.float16).astype(np.float32) if name == "f16"
                      else gguf.quants.dequantize(data.reshape(1, -1), kind))
        else:
            data = rng.integers(0, 256, (count, size)).astype(np.uint8)
            for at in HALVES.get(name, []):
                data[:, at:at + 2] = rng.standard_normal((count, 1)).astype(np.float16).view(np.uint8)
            if name == "mxfp4":
                data[:, 0] = rng.integers(0, 250, count)
            values = gguf.quants.dequantize(data, kind)
        data.tofile(HERE / f"{name}.blocks")
        values.astype(np.float32).tofile(HERE / f"{name}.f32")
        if name in ENCODED:
            gguf.quants.quantize(source.reshape(1, -1), kind).tofile(HERE / f"{name}.encoded")
        if name in MEASURED:
            out = np.zeros(source.size // block * size, np.uint8)
            ggml.ggml_quantize_chunk(int(kind), source.ctypes.data_as(ctypes.c_void_p),
                                     out.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(0),
                                     ctypes.c_int64(source.size // 256), ctypes.c_int64(256), None)
            decoded = gguf.quants.dequantize(out.reshape(-1, size), kind).reshape(-1)
            errors[name] = float(np.sqrt(np.mean((decoded.astype(np.float64) - source) ** 2)))
    (HERE / "errors.json").write_text(json.dumps(errors, indent=1) + "\n")


main()
