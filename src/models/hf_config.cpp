#include "models/hf_config.h"

namespace moxie::models {
namespace {

[[noreturn]] void wrong(const std::string& where, const std::string& key, const Json& value,
                        const char* wanted) {
  fail(ErrorCode::kCorruptData, where, "'{}' must be {}, but is {}", key, wanted,
       value.dump().substr(0, 80));
}

}  // namespace

bool HfConfig::has(const std::string& key) const {
  return json_.contains(key) && !json_.at(key).is_null();
}

int64_t HfConfig::integer(const std::string& key, std::optional<int64_t> fallback) const {
  if (!has(key)) {
    if (fallback) return *fallback;
    fail(ErrorCode::kCorruptData, where_,
         "the key '{}' is missing; is this the config.json of a model?", key);
  }
  const Json& value = json_.at(key);
  if (!value.is_number_integer()) wrong(where_, key, value, "a whole number");
  return value.get<int64_t>();
}

double HfConfig::number(const std::string& key, std::optional<double> fallback) const {
  if (!has(key)) {
    if (fallback) return *fallback;
    fail(ErrorCode::kCorruptData, where_,
         "the key '{}' is missing; is this the config.json of a model?", key);
  }
  const Json& value = json_.at(key);
  if (!value.is_number()) wrong(where_, key, value, "a number");
  return value.get<double>();
}

bool HfConfig::flag(const std::string& key, bool fallback) const {
  if (!has(key)) return fallback;
  if (!json_.at(key).is_boolean()) wrong(where_, key, json_.at(key), "true or false");
  return json_.at(key).get<bool>();
}

std::string HfConfig::text(const std::string& key, const std::string& fallback) const {
  if (!has(key)) return fallback;
  if (!json_.at(key).is_string()) wrong(where_, key, json_.at(key), "text");
  return json_.at(key).get<std::string>();
}

HfConfig HfConfig::object(const std::string& key) const {
  if (!has(key)) return {Json::object(), where_};
  if (!json_.at(key).is_object()) wrong(where_, key, json_.at(key), "an object");
  return {json_.at(key), where_ + ": " + key};
}

std::vector<double> HfConfig::numbers(const std::string& key) const {
  std::vector<double> list;
  if (!has(key)) return list;
  if (!json_.at(key).is_array()) wrong(where_, key, json_.at(key), "a list of numbers");
  for (const Json& item : json_.at(key)) {
    if (!item.is_number()) wrong(where_, key, item, "a list of numbers");
    list.push_back(item.get<double>());
  }
  return list;
}

nn::RopeConfig HfConfig::rope(const nn::DecoderConfig& config,
                              const std::string& layer_type) const {
  HfConfig scaling = has("rope_parameters") ? object("rope_parameters") : object("rope_scaling");
  if (!layer_type.empty() && scaling.has(layer_type)) scaling = scaling.object(layer_type);
  nn::RopeConfig rope;
  rope.theta = scaling.number("rope_theta", number("rope_theta", 10000.0));
  rope.max_positions = config.max_positions;
  const double part = scaling.number("partial_rotary_factor", number("partial_rotary_factor", 1.0));
  rope.rotated = static_cast<int64_t>(static_cast<double>(config.head_dim) * part);
  rope.type = scaling.text("rope_type", scaling.text("type", "default"));
  if (rope.type == "su") rope.type = "longrope";  // its name in early Phi-3 files
  rope.factor = scaling.number("factor", 1.0);
  rope.original_max_positions = scaling.integer("original_max_position_embeddings",
                                                integer("original_max_position_embeddings", 0));
  rope.low_frequency_factor = scaling.number("low_freq_factor", 1.0);
  rope.high_frequency_factor = scaling.number("high_freq_factor", 4.0);
  rope.beta_fast = scaling.number("beta_fast", 32.0);
  rope.beta_slow = scaling.number("beta_slow", 1.0);
  rope.truncates = scaling.flag("truncate", true);
  const bool has_amplitude = rope.type == "yarn" || rope.type == "longrope";
  if (has_amplitude && scaling.has("attention_factor"))
    rope.attention_factor = scaling.number("attention_factor");
  if (scaling.has("mscale")) rope.mscale = scaling.number("mscale");
  if (scaling.has("mscale_all_dim")) rope.mscale_all_dim = scaling.number("mscale_all_dim");
  rope.short_factors = scaling.numbers("short_factor");
  rope.long_factors = scaling.numbers("long_factor");
  nn::rope_frequencies(
      rope, 1);  // an unknown type or a wrong length is an error now, not in the middle of a run
  return rope;
}

void HfConfig::set_windows(nn::DecoderConfig& config, int64_t window) const {
  if (!has("layer_types")) {
    for (auto& layer : config.layers) layer.window = window;
    return;
  }
  const Json& types = json_.at("layer_types");
  if (!types.is_array() || types.size() != config.layers.size()) {
    wrong(where_, "layer_types", types,
          fmt::format("a list of {} names", config.layers.size()).c_str());
  }
  for (size_t i = 0; i < types.size(); ++i) {
    const bool slides = types[i] == "sliding_attention";
    if (!slides && types[i] != "full_attention")
      wrong(where_, "layer_types", types[i], "full_attention or sliding_attention");
    config.layers[i].window = slides ? window : 0;
  }
}

ops::Activation HfConfig::activation() const {
  const std::string name = text("hidden_activation", text("hidden_act", "silu"));
  if (name == "silu" || name == "swish") return ops::Activation::kSilu;
  if (name == "gelu_pytorch_tanh" || name == "gelu_new") return ops::Activation::kGeluTanh;
  if (name == "gelu") return ops::Activation::kGelu;
  fail(ErrorCode::kUnsupported, where_,
       "the activation '{}' is not known; silu, gelu and gelu_pytorch_tanh are", name);
}

nn::DecoderConfig read_hf_config(const Json& json, const std::string& where,
                                 const Named<Architecture>** architecture) {
  const HfConfig hf(json, where);
  const std::string type = hf.text("model_type", "");
  const auto* row = find_row(architectures(), type);
  if (row == nullptr) {
    const auto names = names_of(architectures());
    fail(ErrorCode::kUnsupported, where,
         "model_type '{}' is not an architecture Moxie knows; it knows {}", type,
         join(names, ", "));
  }
  *architecture = row;
  nn::DecoderConfig config;
  config.architecture = type;
  config.vocab = hf.integer("vocab_size");
  config.hidden = hf.integer("hidden_size");
  config.ffn = hf.integer("intermediate_size");
  config.heads = hf.integer("num_attention_heads");
  config.kv_heads = hf.integer("num_key_value_heads", config.heads);
  config.head_dim = hf.integer("head_dim", config.heads > 0 ? config.hidden / config.heads : 0);
  config.max_positions = hf.integer("max_position_embeddings", 2048);
  config.norm_epsilon = hf.number("rms_norm_eps", 1e-6);
  config.norm_shift = (*row)->hf_norm_shift;
  config.ties_embeddings = hf.flag("tie_word_embeddings", false);
  config.activation = hf.activation();
  const int64_t layers = hf.integer("num_hidden_layers");
  if (layers < 1 || layers > 512) {
    fail(ErrorCode::kCorruptData, where,
         "num_hidden_layers = {} is out of range; 1 to 512 are allowed", layers);
  }
  config.layers.resize(static_cast<size_t>(layers));
  (*row)->from_hf(hf, config);
  if (config.ropes.empty()) config.ropes = {hf.rope(config)};
  config.check();
  return config;
}

}  // namespace moxie::models
