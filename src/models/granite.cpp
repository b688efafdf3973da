// Granite 3, dense: Llama's block with four multipliers (IBM, 2024).
#include "models/gguf_config.h"
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
  config.embedding_scale = gguf.number("embedding_scale", 1.0);
  config.attention_scale = gguf.number("attention.scale", 0.0);
  config.residual_scale = gguf.number("residual_scale", 1.0);
  config.logit_scale = 1.0 / gguf.number("logit_scale", 1.0);
}

}  // namespace

extern const Architecture granite_entry;
const Architecture granite_entry{"Granite 3, dense", "granite", true, 0, from_hf, from_gguf};

}  // namespace moxie::models
