#!/usr/bin/env python3
"""Writes small.gguf and small.safetensors, which tests/io/formats_golden_test.cpp reads and writes again.

Made with gguf 0.19.0, safetensors 0.8.0 and numpy 2.4.6.
"""
import pathlib

import gguf
import numpy as np
from gguf.quants import quantize
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).resolve().parent


def main():
    writer = gguf.GGUFWriter(HERE / "small.gguf", "llama")
    writer.add_uint32("llama.block_count", 2)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_bool("tokenizer.ggml.add_bos_token", True)
    writer.add_string("general.name", "small \u00fc")
    writer.add_array("tokenizer.ggml.tokens", ["a", "\u0120b", "<0x41>"])
    writer.add_array("tokenizer.ggml.token_type", [1, 1, 6])
    writer.add_array("tokenizer.ggml.scores", [0.5, -1.0, 0.0])
    ramp = (np.arange(96, dtype=np.float32).reshape(3, 32) - 40) / 16
    writer.add_tensor("plain", ramp)
    writer.add_tensor("half", ramp.astype(np.float16))
    writer.add_tensor("packed", quantize(ramp, gguf.GGMLQuantizationType.Q8_0),
                      raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("bias", np.array([1, 2, 3], dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file({"bytes": np.arange(5, dtype=np.uint8), "plain": ramp, "half": ramp.astype(np.float16),
               "long": np.array([-1, 2**40]), "scalar": np.array(0.25), "none": np.zeros((0, 3), np.float32)},
              HERE / "small.safetensors", metadata={"format": "np", "note": "\u00fc"})


if __name__ == "__main__":
    main()
