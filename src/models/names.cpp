#include "models/names.h"

#include <string_view>

#include "base/error.h"

namespace moxie::models {
namespace {

struct Row {
  std::string_view name, hf, gguf;
};

constexpr Row kOutside[] = {
    {"embed", "model.embed_tokens", "token_embd"},
    {"head", "lm_head", "output"},
    {"final_norm", "model.norm", "output_norm"},
};
constexpr Row kInside[] = {
    {"attn.q", "self_attn.q_proj", "attn_q"},
    {"attn.k", "self_attn.k_proj", "attn_k"},
    {"attn.v", "self_attn.v_proj", "attn_v"},
    {"attn.qkv", "self_attn.qkv_proj", "attn_qkv"},
    {"attn.o", "self_attn.o_proj", "attn_output"},
    {"attn.q_norm", "self_attn.q_norm", "attn_q_norm"},
    {"attn.k_norm", "self_attn.k_norm", "attn_k_norm"},
    {"mlp.gate", "mlp.gate_proj", "ffn_gate"},
    {"mlp.up", "mlp.up_proj", "ffn_up"},
    {"mlp.gate_up", "mlp.gate_up_proj", "ffn_up"},
    {"mlp.down", "mlp.down_proj", "ffn_down"},
    {"attn_norm", "input_layernorm", "attn_norm"},
    {"attn_post_norm", "post_attention_layernorm", "post_attention_norm"},
    {"mlp_post_norm", "post_feedforward_layernorm", "post_ffw_norm"},
};

std::string translate(const nn::DecoderConfig& config, std::string name, bool to_hf) {
  std::string suffix;
  if (name.ends_with(".bias")) {
    suffix = ".bias";
    name.resize(name.size() - suffix.size());
  }
  for (const Row& row : kOutside) {
    if (row.name == name) return std::string(to_hf ? row.hf : row.gguf) + suffix;
  }
  const size_t dot = name.find('.', 7);
  MOXIE_ASSERT(name.starts_with("layers.") && dot != std::string::npos);
  const std::string prefix = (to_hf ? "model.layers." : "blk.") + name.substr(7, dot - 7) + ".";
  const std::string inner = name.substr(dot + 1);
  if (inner == "mlp_norm") {
    // Llama calls the norm before its MLP "post attention"; where a norm after attention exists,
    // that has the name.
    const char* hf = config.placement == nn::NormPlacement::kPre ? "post_attention_layernorm"
                                                                 : "pre_feedforward_layernorm";
    return prefix + (to_hf ? hf : "ffn_norm") + suffix;
  }
  for (const Row& row : kInside) {
    if (row.name == inner) return prefix + std::string(to_hf ? row.hf : row.gguf) + suffix;
  }
  MOXIE_ASSERT(false);
  return {};
}

}  // namespace

std::string hf_module_name(const nn::DecoderConfig& config, const std::string& name) {
  return translate(config, name, true);
}
std::string gguf_tensor_name(const nn::DecoderConfig& config, const std::string& name) {
  return translate(config, name, false);
}

}  // namespace moxie::models
