// Granite 3, dense: Llama's block with four multipliers (IBM, 2024).
#include "models/gguf_config.h"
#include "models/gguf_keys.h"
#include "models/gguf_metadata.h"
#include "models/hf_config.h"

namespace moxie::models {
namespace {

void from_hf(const HfConfig& hf, nn::DecoderConfig& config) {
  config.qkv_bias = config.output_bias = hf.flag("attention_bias", false);
  config.mlp_bias = hf.flag("mlp_bias", false);
  config.embedding_scale = hf.number("embedding_multiplier", 1.0);
  config.attention_scale = hf.number("attention_multiplier", 1.0);
  config.residual_scale = hf.number("residual_multiplier", 1.0);
  config.logit_scale = 1.0 / hf.number("logits_scaling", 1.0);
}

void from_gguf(const GgufConfig& gguf, nn::DecoderConfig& config) {
  config.embedding_scale = gguf.number(key::kEmbeddingScale, 1.0);
  config.attention_scale = gguf.number(key::kAttentionScale, 0.0);
  config.residual_scale = gguf.number(key::kResidualScale, 1.0);
  config.logit_scale = 1.0 / gguf.number(key::kLogitScale, 1.0);
}

void to_gguf(GgufMetadata& gguf, const nn::DecoderConfig& config) {
  gguf.number(key::kEmbeddingScale, config.embedding_scale);
  gguf.number(key::kAttentionScale, config.attention_scale);
  gguf.number(key::kResidualScale, config.residual_scale);
  gguf.number(key::kLogitScale, 1.0 / config.logit_scale);
}

}  // namespace

extern const Architecture granite_entry;
const Architecture granite_entry{"Granite 3, dense", "granite", true,        0, from_hf,
                                 from_gguf,          to_gguf,   kLlamaLimits};

}  // namespace moxie::models
