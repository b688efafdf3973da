// Gemma 3, text: Gemma 2's norms, q and k normed per head, five layers with a window and their own
// rotary base for each one without (Gemma Team, 2025).
#include <cmath>

#include "models/gguf_config.h"
#include "models/gguf_keys.h"
#include "models/gguf_metadata.h"
#include "models/hf_config.h"

namespace moxie::models {
namespace {

constexpr int64_t kPattern = 6;  // every sixth layer sees everything

void common(nn::DecoderConfig& config) {
  config.placement = nn::NormPlacement::kSandwich;
  config.qk_norm = nn::QkNorm::kPerHead;
  config.embedding_scale = std::sqrt(static_cast<double>(config.hidden));
  config.activation = ops::Activation::kGeluTanh;
}

void from_hf(const HfConfig& hf, nn::DecoderConfig& config) {
  common(config);
  config.activation = hf.activation();
  config.ties_embeddings = hf.flag("tie_word_embeddings", true);
  config.qkv_bias = config.output_bias = hf.flag("attention_bias", false);
  config.head_dim = hf.integer("head_dim", 256);
  config.attention_scale = 1.0 / std::sqrt(hf.number("query_pre_attn_scalar", 256.0));
  config.attention_softcap = hf.number("attn_logit_softcapping", 0.0);
  config.logit_softcap = hf.number("final_logit_softcapping", 0.0);
  const int64_t window = hf.integer("sliding_window", 4096);
  hf.set_windows(config, window);
  if (!hf.has("layer_types")) {
    const auto pattern =
        static_cast<size_t>(std::max<int64_t>(1, hf.integer("sliding_window_pattern", kPattern)));
    for (size_t i = 0; i < config.layers.size(); ++i)
      config.layers[i].window = (i + 1) % pattern != 0 ? window : 0;
  }
  nn::RopeConfig global = hf.rope(config, "full_attention");
  nn::RopeConfig local;
  if (hf.has("rope_parameters")) {
    local = hf.rope(config, "sliding_attention");
  } else {
    if (!hf.has("rope_theta")) global.theta = 1e6;
    local.theta = hf.number("rope_local_base_freq", 10000.0);
    local.rotated = config.head_dim;
    local.max_positions = config.max_positions;
  }
  config.ropes = {global, local};
  for (auto& layer : config.layers) layer.rope = layer.window > 0 ? 1 : 0;
}

void from_gguf(const GgufConfig& gguf, nn::DecoderConfig& config) {
  common(config);
  // The file does not say query_pre_attn_scalar: it is the head size, but hidden / heads in the 27B
  // (62 layers).
  const bool is_27b = config.layers.size() == 62;
  config.attention_scale =
      1.0 / std::sqrt(static_cast<double>(is_27b ? config.hidden / config.heads : config.head_dim));
  const nn::RopeConfig global = gguf.rope(config);
  nn::RopeConfig local;
  local.theta = gguf.number(key::kRopeBaseWindow, 10000.0);
  local.rotated = config.head_dim;
  local.max_positions = config.max_positions;
  config.ropes = {global, local};
  gguf.set_windows(config, gguf.integer(key::kWindow, 0), kPattern);
  for (auto& layer : config.layers) layer.rope = layer.window > 0 ? 1 : 0;
}

void to_gguf(GgufMetadata& gguf, const nn::DecoderConfig& config) {
  gguf.number(key::kRopeBaseWindow, config.ropes[1].theta);
  gguf.windows(config, kPattern);
}

}  // namespace

extern const Architecture gemma3_text_entry;
const Architecture gemma3_text_entry{"Gemma 3, text", "gemma3",  false,   1,
                                     from_hf,         from_gguf, to_gguf, {.windows = true}};

}  // namespace moxie::models
