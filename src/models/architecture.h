#pragma once
// An architecture: how its configuration is read from a Hugging Face config.json and from GGUF
// metadata into a nn::DecoderConfig. The row's name is the config's model_type. One file each, in
// models.list.
#include <nlohmann/json_fwd.hpp>

#include "base/registry.h"
#include "io/gguf.h"
#include "nn/decoder.h"

namespace moxie::models {

struct Architecture {
  const char* summary;
  const char* gguf_name;  // general.architecture
  bool gguf_permutes_qk;  // rows of q and k are stored for interleaved rotary pairs
  double hf_norm_shift;   // Gemma's checkpoints store norm weights less one; its GGUF files do not
  // Both fill what is particular; the common part is already read (hf_config.h, gguf_config.h).
  void (*from_hf)(const class HfConfig& hf, nn::DecoderConfig& config);
  void (*from_gguf)(const class GgufConfig& gguf, nn::DecoderConfig& config);
};

Table<Architecture> architectures();

}  // namespace moxie::models
