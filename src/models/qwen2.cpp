// Qwen 2 and 2.5: biases on q, k and v (Yang et al., 2024).
#include "models/gguf_config.h"
#include "models/gguf_metadata.h"
#include "models/hf_config.h"

namespace moxie::models {
namespace {

void from_hf(const HfConfig& hf, nn::DecoderConfig& config) {
  config.qkv_bias = true;
  if (!hf.flag("use_sliding_window", false)) return;
  const int64_t window = hf.integer("sliding_window", 4096);
  hf.set_windows(config, window);
  if (hf.has("layer_types")) return;
  // Without the list, layers from max_window_layers on slide.
  const int64_t first = hf.integer("max_window_layers", 28);
  for (size_t i = 0; i < config.layers.size(); ++i)
    config.layers[i].window = static_cast<int64_t>(i) >= first ? window : 0;
}

void from_gguf(const GgufConfig&, nn::DecoderConfig&) {}

void to_gguf(GgufMetadata&, const nn::DecoderConfig&) {}

}  // namespace

extern const Architecture qwen2_entry;
const Architecture qwen2_entry{"Qwen 2 and 2.5", "qwen2",   false,   0,
                               from_hf,          from_gguf, to_gguf, {.qkv_bias = true}};

}  // namespace moxie::models
