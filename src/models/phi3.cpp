// Phi-3 and 3.5: q, k and v in one matrix, gate and up in another; LongRoPE for long contexts
// (Abdin et al., 2024).
#include "models/gguf_config.h"
#include "models/gguf_keys.h"
#include "models/gguf_metadata.h"
#include "models/hf_config.h"

namespace moxie::models {
namespace {

void from_hf(const HfConfig& hf, nn::DecoderConfig& config) {
  config.fuses_qkv = config.fuses_gate_up = true;
  hf.set_windows(config, hf.integer("sliding_window", 0));
}

void from_gguf(const GgufConfig& gguf, nn::DecoderConfig& config) {
  config.fuses_qkv = config.fuses_gate_up = true;
  const int64_t window = gguf.integer(key::kWindow, 0);
  // Converters write the context length where the model has no window.
  for (auto& layer : config.layers) layer.window = window < config.max_positions ? window : 0;
}

void to_gguf(GgufMetadata&, const nn::DecoderConfig&) {}

}  // namespace

extern const Architecture phi3_entry;
const Architecture phi3_entry{"Phi-3 and 3.5 mini", "phi3", false, 0, from_hf, from_gguf, to_gguf,
                              {.long_rope = true}};

}  // namespace moxie::models
