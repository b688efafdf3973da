// Llama 1 to 3, SmolLM, SmolLM2 and others of the same block (Touvron et al., 2023; Grattafiori et
// al., 2024).
#include "models/gguf_config.h"
#include "models/gguf_keys.h"
#include "models/gguf_metadata.h"
#include "models/hf_config.h"

namespace moxie::models {
namespace {

void from_hf(const HfConfig& hf, nn::DecoderConfig& config) {
  config.qkv_bias = config.output_bias = hf.flag("attention_bias", false);
  config.mlp_bias = hf.flag("mlp_bias", false);
}

void from_gguf(const GgufConfig& gguf, nn::DecoderConfig& config) {
  // A window in a "llama" file means Mistral.
  for (auto& layer : config.layers) layer.window = gguf.integer(key::kWindow, 0);
}

void to_gguf(GgufMetadata&, const nn::DecoderConfig&) {}

}  // namespace

extern const Architecture llama_entry;
const Architecture llama_entry{
    "Llama 2 and 3, SmolLM, SmolLM2", "llama", true, 0, from_hf, from_gguf, to_gguf, kLlamaLimits};

}  // namespace moxie::models
