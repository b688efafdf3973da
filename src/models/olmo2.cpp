// OLMo 2: norms after each sublayer instead of before, q and k normed over their full width (OLMo
// Team, 2024).
#include "models/gguf_config.h"
#include "models/gguf_metadata.h"
#include "models/hf_config.h"

namespace moxie::models {
namespace {

void from_hf(const HfConfig& hf, nn::DecoderConfig& config) {
  config.placement = nn::NormPlacement::kPost;
  config.qk_norm = nn::QkNorm::kFullWidth;
  config.qkv_bias = config.output_bias = hf.flag("attention_bias", false);
}

void from_gguf(const GgufConfig&, nn::DecoderConfig& config) {
  config.placement = nn::NormPlacement::kPost;
  config.qk_norm = nn::QkNorm::kFullWidth;
}

void to_gguf(GgufMetadata&, const nn::DecoderConfig&) {}

}  // namespace

extern const Architecture olmo2_entry;
const Architecture olmo2_entry{"OLMo 2", "olmo2",   false,   0,
                               from_hf,  from_gguf, to_gguf, {.tied_head = false}};

}  // namespace moxie::models
