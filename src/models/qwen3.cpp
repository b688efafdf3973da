// Qwen 3, dense: a norm on each head of q and k, head size of its own (Yang et al., 2025).
#include "models/gguf_config.h"
#include "models/gguf_metadata.h"
#include "models/hf_config.h"

namespace moxie::models {
namespace {

void from_hf(const HfConfig& hf, nn::DecoderConfig& config) {
  config.qk_norm = nn::QkNorm::kPerHead;
  config.head_dim = hf.integer("head_dim", 128);
  config.qkv_bias = config.output_bias = hf.flag("attention_bias", false);
  if (!hf.flag("use_sliding_window", false)) return;
  const int64_t window = hf.integer("sliding_window", 4096);
  hf.set_windows(config, window);
  if (hf.has("layer_types")) return;
  const int64_t first = hf.integer("max_window_layers", 28);
  for (size_t i = 0; i < config.layers.size(); ++i)
    config.layers[i].window = static_cast<int64_t>(i) >= first ? window : 0;
}

void from_gguf(const GgufConfig&, nn::DecoderConfig& config) {
  config.qk_norm = nn::QkNorm::kPerHead;
}

void to_gguf(GgufMetadata&, const nn::DecoderConfig&) {}

}  // namespace

extern const Architecture qwen3_entry;
const Architecture qwen3_entry{"Qwen 3, dense", "qwen3", false, 0, from_hf, from_gguf, to_gguf, {}};

}  // namespace moxie::models
