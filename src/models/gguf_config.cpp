#include "models/gguf_config.h"

#include "base/result.h"

namespace moxie::models {

int64_t GgufConfig::integer(const std::string& key, std::optional<int64_t> fallback) const {
  return fallback ? file_.get_int(full(key)).value_or(*fallback) : file_.require_int(full(key));
}

double GgufConfig::number(const std::string& key, std::optional<double> fallback) const {
  return fallback ? file_.get_float(full(key)).value_or(*fallback) : file_.require_float(full(key));
}

int64_t GgufConfig::uniform(const std::string& key, std::optional<int64_t> fallback) const {
  auto single = attempt([&] { return file_.get_int(full(key)); });
  if (single.ok()) return single.value() ? *single.value() : integer(key, fallback);
  const auto list = file_.get_ints(full(key));
  MOXIE_ASSERT(list.has_value());
  for (const int64_t value : *list) {
    if (value != list->front()) {
      fail(ErrorCode::kUnsupported, file_.where(),
           "'{}' differs from layer to layer; only models with one value are supported", full(key));
    }
  }
  if (list->empty())
    fail(ErrorCode::kCorruptData, file_.where(), "'{}' is an empty list", full(key));
  return list->front();
}

nn::RopeConfig GgufConfig::rope(const nn::DecoderConfig& config) const {
  nn::RopeConfig rope;
  rope.theta = number("rope.freq_base", 10000.0);
  rope.rotated = integer("rope.dimension_count", config.head_dim);
  rope.max_positions = config.max_positions;
  rope.original_max_positions = integer("rope.scaling.original_context_length", 0);
  rope.factor = number("rope.scaling.factor", 1.0);
  const std::string type = file_.get_string(full("rope.scaling.type")).value_or("none");
  if (type == "linear" || type == "yarn" || type == "longrope") {
    rope.type = type;
  } else if (type != "none") {
    fail(ErrorCode::kUnsupported, file_.where(),
         "rope.scaling.type '{}' is not known; none, linear, yarn and longrope are", type);
  }
  if (has("rope.scaling.attn_factor")) rope.attention_factor = number("rope.scaling.attn_factor");
  const auto factors = [&](const char* name) {
    std::vector<double> list;
    if (const auto* tensor = file_.find_tensor(name)) {
      const Tensor values = tensor->as_f32();
      list.assign(values.data<float>(), values.data<float>() + values.count());
    }
    return list;
  };
  rope.divisors = factors("rope_freqs.weight");
  rope.long_factors = factors("rope_factors_long.weight");
  rope.short_factors = factors("rope_factors_short.weight");
  if (!rope.long_factors.empty()) rope.type = "longrope";
  nn::rope_frequencies(rope, 1);
  return rope;
}

nn::DecoderConfig read_gguf_config(const io::GgufFile& file,
                                   const Named<Architecture>** architecture) {
  const std::string name = file.require_string("general.architecture");
  std::vector<std::string> known;
  *architecture = nullptr;
  for (const auto& row : architectures()) {
    if (name == row->gguf_name && *architecture == nullptr) *architecture = &row;
    known.emplace_back(row->gguf_name);
  }
  if (*architecture == nullptr) {
    fail(ErrorCode::kUnsupported, file.where(),
         "general.architecture '{}' is not one Moxie knows; it knows {}", name, join(known, ", "));
  }
  const GgufConfig gguf(file, name);
  nn::DecoderConfig config;
  config.architecture = (**architecture).name;
  const auto* embed = file.find_tensor("token_embd.weight");
  if (embed == nullptr || embed->dims.size() != 2) {
    fail(ErrorCode::kCorruptData, file.where(),
         "there is no matrix 'token_embd.weight'; is this a language model?");
  }
  config.vocab = embed->dims[0];
  config.hidden = gguf.integer("embedding_length");
  config.ffn = gguf.uniform("feed_forward_length");
  config.heads = gguf.uniform("attention.head_count");
  config.kv_heads = gguf.uniform("attention.head_count_kv", config.heads);
  config.head_dim =
      gguf.integer("attention.key_length", config.heads > 0 ? config.hidden / config.heads : 0);
  config.max_positions = gguf.integer("context_length");
  config.norm_epsilon = gguf.number("attention.layer_norm_rms_epsilon");
  config.ties_embeddings = !gguf.has_tensor("output.weight");
  const int64_t layers = gguf.integer("block_count");
  if (layers < 1 || layers > 512) {
    fail(ErrorCode::kCorruptData, file.where(),
         "block_count = {} is out of range; 1 to 512 are allowed", layers);
  }
  config.layers.resize(static_cast<size_t>(layers));
  config.qkv_bias = gguf.has_tensor("blk.0.attn_q.bias") || gguf.has_tensor("blk.0.attn_qkv.bias");
  config.output_bias = gguf.has_tensor("blk.0.attn_output.bias");
  config.mlp_bias = gguf.has_tensor("blk.0.ffn_down.bias");
  (**architecture)->from_gguf(gguf, config);
  if (config.ropes.empty()) config.ropes = {gguf.rope(config)};
  config.check();
  return config;
}

}  // namespace moxie::models
