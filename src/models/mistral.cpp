// Mistral 7B and its kin: Llama's block with a sliding window (Jiang et al., 2023). Its GGUF files
// say "llama".
#include "models/gguf_config.h"
#include "models/hf_config.h"

namespace moxie::models {
namespace {

void from_hf(const HfConfig& hf, nn::DecoderConfig& config) {
  hf.set_windows(config,
                 hf.json().contains("sliding_window") ? hf.integer("sliding_window", 0) : 4096);
}

void from_gguf(const GgufConfig& gguf, nn::DecoderConfig& config) {
  for (auto& layer : config.layers) layer.window = gguf.integer("attention.sliding_window", 0);
}

}  // namespace

extern const Architecture mistral_entry;
const Architecture mistral_entry{
    "Mistral, with its sliding window", "mistral", true, 0, from_hf, from_gguf};

}  // namespace moxie::models
