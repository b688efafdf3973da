#pragma once
// An architecture: how its configuration is read from a Hugging Face config.json and from GGUF
// metadata into a nn::DecoderConfig, and written as the latter. The row's name is the config's
// model_type. One file each, in models.list.
#include <nlohmann/json_fwd.hpp>

#include "base/registry.h"
#include "io/gguf.h"
#include "nn/decoder.h"

namespace moxie::models {

// What llama.cpp computes for an architecture: a file with more would be read, and wrongly.
struct GgufLimits {
  bool qkv_bias = false, output_bias = false, mlp_bias = false;
  bool windows = false;        // it may hold layers with a window
  bool rope_divisors = false;  // rope_freqs.weight
  bool long_rope = false;      // rope_factors_long.weight and rope_factors_short.weight
  bool tied_head = true, own_head = true;
};

struct Architecture {
  const char* summary;
  const char* gguf_name;  // general.architecture
  bool gguf_permutes_qk;  // rows of q and k are stored for interleaved rotary pairs
  double hf_norm_shift;   // Gemma's checkpoints store norm weights less one; its GGUF files do not
  // Both fill what is particular; the common part is already read (hf_config.h, gguf_config.h).
  // from_gguf is null where another row reads files of that gguf_name.
  void (*from_hf)(const class HfConfig& hf, nn::DecoderConfig& config);
  void (*from_gguf)(const class GgufConfig& gguf, nn::DecoderConfig& config);
  // The reverse of from_gguf (gguf_metadata.h).
  void (*to_gguf)(class GgufMetadata& gguf, const nn::DecoderConfig& config);
  GgufLimits gguf_limits;
};

Table<Architecture> architectures();

}  // namespace moxie::models
