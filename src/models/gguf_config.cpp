#include "models/gguf_config.h"

#include <algorithm>

#include "base/result.h"
#include "models/gguf_keys.h"

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
  rope.theta = number(key::kRopeBase, 10000.0);
  rope.rotated = integer(key::kRopeDimensions, config.head_dim);
  rope.max_positions = config.max_positions;
  rope.original_max_positions = integer(key::kRopeOriginalContext, 0);
  rope.factor = number(key::kRopeFactor, 1.0);
  const std::string type = file_.get_string(full(key::kRopeType)).value_or("none");
  if (type == "linear" || type == "yarn" || type == "longrope") {
    rope.type = type;
  } else if (type != "none") {
    fail(ErrorCode::kUnsupported, file_.where(),
         "rope.scaling.type '{}' is not known; none, linear, yarn and longrope are", type);
  }
  const bool is_long = type == "longrope" || file_.find_tensor(key::kRopeLong) != nullptr;
  // The file's factor stands alone, but for YaRN, whose own it multiplies.
  if (has(key::kRopeAmplitude) || is_long) {
    rope.attention_factor =
        number(key::kRopeAmplitude, 1.0) * (type == "yarn" ? nn::yarn_magnitude(rope.factor) : 1.0);
  }
  const auto factors = [&](const char* name) {
    std::vector<double> list;
    if (const auto* tensor = file_.find_tensor(name)) {
      const Tensor values = tensor->as_f32();
      list.assign(values.data<float>(), values.data<float>() + values.count());
    }
    return list;
  };
  rope.divisors = factors(key::kRopeDivisors);
  rope.long_factors = factors(key::kRopeLong);
  rope.short_factors = factors(key::kRopeShort);
  if (!rope.long_factors.empty()) rope.type = "longrope";
  nn::rope_frequencies(rope, 1);
  return rope;
}

void GgufConfig::set_windows(nn::DecoderConfig& config, int64_t window, int64_t period) const {
  std::vector<bool> slides;
  if (attempt([&] { return file_.get_bools(full(key::kWindowPattern)); }).ok()) {
    slides = file_.get_bools(full(key::kWindowPattern)).value_or(std::vector<bool>());
  } else {
    period = std::max<int64_t>(1, integer(key::kWindowPattern, period));
  }
  for (size_t i = 0; i < config.layers.size(); ++i) {
    const bool by_period = (static_cast<int64_t>(i) + 1) % period != 0;
    config.layers[i].window =
        (slides.empty() ? by_period : i < slides.size() && slides[i]) ? window : 0;
  }
}

nn::DecoderConfig read_gguf_config(const io::GgufFile& file,
                                   const Named<Architecture>** architecture) {
  const std::string name = file.require_string(key::kArchitecture);
  std::vector<std::string> known;
  *architecture = nullptr;
  for (const auto& row : architectures()) {
    if (row->from_gguf == nullptr) continue;
    if (name == row->gguf_name) *architecture = &row;
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
  config.hidden = gguf.integer(key::kEmbeddingLength);
  config.ffn = gguf.uniform(key::kFeedForwardLength);
  config.heads = gguf.uniform(key::kHeadCount);
  config.kv_heads = gguf.uniform(key::kHeadCountKv, config.heads);
  config.head_dim =
      gguf.integer(key::kKeyLength, config.heads > 0 ? config.hidden / config.heads : 0);
  config.max_positions = gguf.integer(key::kContextLength);
  config.norm_epsilon = gguf.number(key::kNormEpsilon);
  config.ties_embeddings = !gguf.has_tensor("output.weight");
  const int64_t layers = gguf.integer(key::kBlockCount);
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
