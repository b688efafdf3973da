// Gemma 2: norms on both sides of each sublayer, soft caps, every other layer a window (Gemma Team,
// 2024).
#include <cmath>

#include "models/gguf_config.h"
#include "models/gguf_keys.h"
#include "models/gguf_metadata.h"
#include "models/hf_config.h"

namespace moxie::models {
namespace {

constexpr int64_t kPattern = 2;  // every other layer sees everything

void common(nn::DecoderConfig& config) {
  config.placement = nn::NormPlacement::kSandwich;
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
  config.attention_softcap = hf.number("attn_logit_softcapping",
                                       hf.json().contains("attn_logit_softcapping") ? 0.0 : 50.0);
  config.logit_softcap = hf.number("final_logit_softcapping",
                                   hf.json().contains("final_logit_softcapping") ? 0.0 : 30.0);
  const int64_t window = hf.integer("sliding_window", 4096);
  hf.set_windows(config, window);
  if (hf.has("layer_types")) return;
  for (size_t i = 0; i < config.layers.size(); ++i)
    config.layers[i].window = i % 2 == 0 ? window : 0;
}

void from_gguf(const GgufConfig& gguf, nn::DecoderConfig& config) {
  common(config);
  config.attention_softcap = gguf.number(key::kAttentionSoftcap, 50.0);
  config.logit_softcap = gguf.number(key::kLogitSoftcap, 30.0);
  // The file does not say query_pre_attn_scalar: it is the head size, but hidden / heads in the 27B
  // (46 layers).
  const bool is_27b = config.layers.size() == 46;
  config.attention_scale =
      1.0 / std::sqrt(static_cast<double>(is_27b ? config.hidden / config.heads : config.head_dim));
  gguf.set_windows(config, gguf.integer(key::kWindow, 4096), kPattern);
}

void to_gguf(GgufMetadata& gguf, const nn::DecoderConfig& config) {
  // llama.cpp always divides by both caps.
  gguf.require(config.attention_softcap > 0 && config.logit_softcap > 0,
               "attention or logits without a soft cap");
  gguf.number(key::kAttentionSoftcap, config.attention_softcap);
  gguf.number(key::kLogitSoftcap, config.logit_softcap);
  gguf.windows(config, kPattern);
}

}  // namespace

extern const Architecture gemma2_entry;
const Architecture gemma2_entry{
    "Gemma 2", "gemma2",  false,   1,
    from_hf,   from_gguf, to_gguf, {.windows = true, .own_head = false}};

}  // namespace moxie::models
