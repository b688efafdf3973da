// SmolLM3: Llama's block, every fourth layer without rotary positions (Hugging Face, 2025; NoPE
// after Yang et al.).
#include "models/gguf_config.h"
#include "models/gguf_metadata.h"
#include "models/hf_config.h"

namespace moxie::models {
namespace {

constexpr int64_t kInterval = 4;

void from_hf(const HfConfig& hf, nn::DecoderConfig& config) {
  config.qkv_bias = config.output_bias = hf.flag("attention_bias", false);
  config.mlp_bias = hf.flag("mlp_bias", false);
  config.ties_embeddings = hf.flag("tie_word_embeddings", true);
  const auto turns = hf.numbers("no_rope_layers");  // 1 where a layer does turn
  const int64_t interval = std::max<int64_t>(1, hf.integer("no_rope_layer_interval", kInterval));
  if (!turns.empty() && turns.size() != config.layers.size()) {
    fail(ErrorCode::kCorruptData, hf.where(), "no_rope_layers has {} entries for {} layers",
         turns.size(), config.layers.size());
  }
  for (size_t i = 0; i < config.layers.size(); ++i) {
    config.layers[i].uses_rope =
        turns.empty() ? (static_cast<int64_t>(i) + 1) % interval != 0 : turns[i] != 0;
  }
  if (hf.flag("use_sliding_window", false)) hf.set_windows(config, hf.integer("sliding_window", 0));
}

void from_gguf(const GgufConfig&, nn::DecoderConfig& config) {
  for (size_t i = 0; i < config.layers.size(); ++i)
    config.layers[i].uses_rope = (static_cast<int64_t>(i) + 1) % kInterval != 0;
}

void to_gguf(GgufMetadata&, const nn::DecoderConfig&) {}

}  // namespace

extern const Architecture smollm3_entry;
const Architecture smollm3_entry{"SmolLM3", "smollm3", true, 0, from_hf, from_gguf, to_gguf, {}};

}  // namespace moxie::models
