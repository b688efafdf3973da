#include "models/save_hf.h"

#include <cmath>

#include "base/files.h"
#include "models/names.h"

namespace moxie::models {
namespace fs = std::filesystem;
namespace {

std::string class_name(const std::string& architecture) {
  static const std::pair<const char*, const char*> kNames[] = {
      {"gemma2", "Gemma2"},   {"gemma3_text", "Gemma3"}, {"granite", "Granite"}, {"llama", "Llama"},
      {"mistral", "Mistral"}, {"olmo2", "Olmo2"},        {"phi3", "Phi3"},       {"qwen2", "Qwen2"},
      {"qwen3", "Qwen3"},     {"smollm3", "SmolLM3"}};
  for (const auto& [name, spelled] : kNames) {
    if (architecture == name) return std::string(spelled) + "ForCausalLM";
  }
  return "";
}

Json rope_json(const nn::RopeConfig& rope, int64_t head_dim) {
  Json json = {{"rope_type", rope.type}, {"rope_theta", rope.theta}};
  if (rope.rotated != head_dim)
    json["partial_rotary_factor"] =
        static_cast<double>(rope.rotated) / static_cast<double>(head_dim);
  if (rope.type == "default") return json;
  json["factor"] = rope.factor;
  if (rope.original_max_positions > 0)
    json["original_max_position_embeddings"] = rope.original_max_positions;
  if (rope.type == "llama3") {
    json["low_freq_factor"] = rope.low_frequency_factor;
    json["high_freq_factor"] = rope.high_frequency_factor;
  }
  if (rope.type == "yarn") {
    json["beta_fast"] = rope.beta_fast;
    json["beta_slow"] = rope.beta_slow;
    json["truncate"] = rope.truncates;
  }
  if (rope.attention_factor) json["attention_factor"] = *rope.attention_factor;
  if (rope.type == "longrope") {
    json["short_factor"] = rope.short_factors;
    json["long_factor"] = rope.long_factors;
  }
  return json;
}

void add_gemma(const nn::DecoderConfig& config, Json& json) {
  json["query_pre_attn_scalar"] =
      std::llround(1.0 / (config.attention_scale * config.attention_scale));
  json["hidden_activation"] = "gelu_pytorch_tanh";
  json["attn_logit_softcapping"] =
      config.attention_softcap > 0 ? Json(config.attention_softcap) : Json(nullptr);
  json["final_logit_softcapping"] =
      config.logit_softcap > 0 ? Json(config.logit_softcap) : Json(nullptr);
}

void add_windows(const nn::DecoderConfig& config, Json& json) {
  int64_t window = 0;
  Json types = Json::array();
  for (const auto& layer : config.layers) {
    window = std::max(window, layer.window);
    types.push_back(layer.window > 0 ? "sliding_attention" : "full_attention");
  }
  json["sliding_window"] = window > 0 ? Json(window) : Json(nullptr);
  const bool uniform = config.architecture == "mistral" || config.architecture == "phi3";
  if (!uniform && config.architecture != "llama" && config.architecture != "granite" &&
      config.architecture != "olmo2") {
    json["layer_types"] = types;
    if (!config.architecture.starts_with("gemma")) json["use_sliding_window"] = window > 0;
  }
}

Tensor stored_vector(const nn::Param& param, double difference) {
  Tensor value = param.value.to(DType::kF32);
  if (difference != 0 && param.name.ends_with("norm")) {
    for (float& x : value.span<float>()) x -= static_cast<float>(difference);
  }
  return value;
}

void save_text_parts(const Model& model, const fs::path& folder) {
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                           "generation_config.json", "chat_template.jinja", "tokenizer.model"}) {
    std::error_code ignored;
    if (!model.gguf && fs::exists(model.path / name, ignored) &&
        !fs::equivalent(model.path, folder, ignored)) {
      write_file_atomically(folder / name, read_file(model.path / name));
    }
  }
  if (!model.gguf || !model.text.tokenizer) return;
  write_file_atomically(folder / "tokenizer.json", model.text.tokenizer->to_json());
  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                 {"model_max_length", model.decoder->config().max_positions}};
  const auto add = [&](const char* key, std::optional<int32_t> id) {
    if (id) config[key] = model.text.tokenizer->token_text(*id);
  };
  add("bos_token", model.text.bos);
  add("eos_token", model.text.eos);
  add("pad_token", model.text.pad);
  if (model.text.chat) config["chat_template"] = model.text.chat->source();
  write_file_atomically(folder / "tokenizer_config.json", config.dump(2) + "\n");
}

const char* torch_name(DType dtype) {
  return dtype == DType::kBF16 ? "bfloat16" : dtype == DType::kF16 ? "float16" : "float32";
}

}  // namespace

Json to_hf_config(const nn::DecoderConfig& config) {
  Json json = {{"architectures", {class_name(config.architecture)}},
               {"model_type", config.architecture},
               {"vocab_size", config.vocab},
               {"hidden_size", config.hidden},
               {"intermediate_size", config.ffn},
               {"num_hidden_layers", config.layers.size()},
               {"num_attention_heads", config.heads},
               {"num_key_value_heads", config.kv_heads},
               {"head_dim", config.head_dim},
               {"max_position_embeddings", config.max_positions},
               {"rms_norm_eps", config.norm_epsilon},
               {"tie_word_embeddings", config.ties_embeddings},
               {"hidden_act", "silu"},
               {"attention_bias", config.qkv_bias},
               {"mlp_bias", config.mlp_bias}};
  const nn::RopeConfig& first = config.ropes.front();
  json["rope_parameters"] = rope_json(first, config.head_dim);
  json["rope_theta"] = first.theta;  // readers older than rope_parameters
  if (first.type != "default") json["rope_scaling"] = rope_json(first, config.head_dim);
  add_windows(config, json);
  if (config.architecture.starts_with("gemma")) add_gemma(config, json);
  if (config.architecture == "gemma3_text") {
    json["rope_parameters"] = {{"full_attention", rope_json(config.ropes[0], config.head_dim)},
                               {"sliding_attention", rope_json(config.ropes[1], config.head_dim)}};
    json["rope_local_base_freq"] = config.ropes[1].theta;
  }
  if (config.architecture == "granite") {
    json["embedding_multiplier"] = config.embedding_scale;
    json["attention_multiplier"] = config.attention_scale > 0
                                       ? config.attention_scale
                                       : 1.0 / std::sqrt(static_cast<double>(config.head_dim));
    json["residual_multiplier"] = config.residual_scale;
    json["logits_scaling"] = 1.0 / config.logit_scale;
  }
  if (config.architecture == "smollm3") {
    json["no_rope_layers"] = Json::array();
    for (const auto& layer : config.layers)
      json["no_rope_layers"].push_back(layer.uses_rope ? 1 : 0);
  }
  if (config.architecture == "phi3")
    json["original_max_position_embeddings"] =
        first.original_max_positions > 0 ? first.original_max_positions : config.max_positions;
  return json;
}

void save_hf(const Model& model, const fs::path& folder, DType dtype) {
  const nn::DecoderConfig& config = model.decoder->config();
  const nn::RopeConfig& rope = config.ropes.front();
  const bool is_bare = rope.type != "yarn" && rope.type != "longrope" && rope.attention_factor;
  if (model.gguf && (!rope.divisors.empty() || is_bare)) {
    fail(ErrorCode::kUnsupported, "export",
         "the GGUF file holds rotary factors without the settings they came from, which a "
         "config.json needs; start from the model's Hugging Face folder");
  }
  fs::create_directories(folder);
  std::vector<io::NamedTensor> tensors;
  for (nn::Matrix* matrix : model.decoder->matrices()) {
    const Tensor values = matrix->decode();
    tensors.push_back({hf_module_name(config, matrix->name()) + ".weight",
                       dtype == DType::kF32 ? values : values.to(dtype)});
  }
  const double difference = (*model.architecture)->hf_norm_shift - config.norm_shift;
  for (const nn::Param* param : model.decoder->vectors()) {
    const std::string module = hf_module_name(config, param->name);
    const Tensor value = stored_vector(*param, difference);
    tensors.push_back({module.ends_with(".bias") ? module : module + ".weight",
                       dtype == DType::kF32 ? value : value.to(dtype)});
  }
  io::write_safetensors(folder / "model.safetensors", tensors);
  Json json = model.hf_config.is_object() ? model.hf_config : to_hf_config(config);
  json["dtype"] = torch_name(dtype);
  json["torch_dtype"] = torch_name(dtype);
  if (model.gguf && model.text.bos) json["bos_token_id"] = *model.text.bos;
  if (model.gguf && model.text.eos) json["eos_token_id"] = *model.text.eos;
  write_file_atomically(folder / "config.json", json.dump(2) + "\n");
  save_text_parts(model, folder);
}

}  // namespace moxie::models
