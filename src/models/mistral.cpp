// Mistral 7B and its kin: Llama's block with a sliding window (Jiang et al., 2023). Its GGUF files
// say "llama", and are read as such.
#include "models/gguf_metadata.h"
#include "models/hf_config.h"

namespace moxie::models {
namespace {

void from_hf(const HfConfig& hf, nn::DecoderConfig& config) {
  hf.set_windows(config,
                 hf.json().contains("sliding_window") ? hf.integer("sliding_window", 0) : 4096);
}

void to_gguf(GgufMetadata&, const nn::DecoderConfig&) {}

}  // namespace

extern const Architecture mistral_entry;
const Architecture mistral_entry{
    "Mistral, with its sliding window", "llama", true, 0, from_hf, nullptr, to_gguf, kLlamaLimits};

}  // namespace moxie::models
