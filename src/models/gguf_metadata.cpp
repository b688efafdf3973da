#include "models/gguf_metadata.h"

#include <algorithm>
#include <cmath>

#include "models/gguf_config.h"
#include "models/gguf_keys.h"

namespace moxie::models {
namespace {

constexpr double kSame = 1e-5;  // relative; the file's numbers are f32

std::vector<float> to_f32(const std::vector<double>& values) {
  return {values.begin(), values.end()};
}

bool is_same(double a, double b) {
  return std::abs(a - b) <= kSame * std::max(std::abs(a), std::abs(b));
}

bool is_same(const nn::RopeConfig& a, const nn::RopeConfig& b, int64_t length) {
  const auto left = nn::rope_frequencies(a, length);
  const auto right = nn::rope_frequencies(b, length);
  return is_same(left.amplitude, right.amplitude) &&
         std::equal(left.values.begin(), left.values.end(), right.values.begin(),
                    right.values.end(), [](double x, double y) { return is_same(x, y); });
}

// A setting's name and its values in the model and in the file, of those that a file may change.
struct Compared {
  const char* name;
  double model, file;
};

double scale_of(const nn::DecoderConfig& config) {
  return config.attention_scale > 0 ? config.attention_scale
                                    : 1.0 / std::sqrt(static_cast<double>(config.head_dim));
}

std::vector<Compared> compared(const nn::DecoderConfig& model, const nn::DecoderConfig& file) {
  const auto number = [](auto value) { return static_cast<double>(value); };
  return {{"vocab_size", number(model.vocab), number(file.vocab)},
          {"hidden_size", number(model.hidden), number(file.hidden)},
          {"intermediate_size", number(model.ffn), number(file.ffn)},
          {"num_hidden_layers", number(model.layers.size()), number(file.layers.size())},
          {"num_attention_heads", number(model.heads), number(file.heads)},
          {"num_key_value_heads", number(model.kv_heads), number(file.kv_heads)},
          {"head_dim", number(model.head_dim), number(file.head_dim)},
          {"max_position_embeddings", number(model.max_positions), number(file.max_positions)},
          {"rms_norm_eps", model.norm_epsilon, file.norm_epsilon},
          {"the kind of activation", number(model.activation), number(file.activation)},
          {"the attention scale", scale_of(model), scale_of(file)},
          {"the soft cap of attention", model.attention_softcap, file.attention_softcap},
          {"the soft cap of logits", model.logit_softcap, file.logit_softcap},
          {"the logit scale", model.logit_scale, file.logit_scale},
          {"the embedding scale", model.embedding_scale, file.embedding_scale},
          {"the residual scale", model.residual_scale, file.residual_scale},
          {"tie_word_embeddings", number(model.ties_embeddings), number(file.ties_embeddings)},
          {"biases of q, k and v", number(model.qkv_bias), number(file.qkv_bias)},
          {"the bias after attention", number(model.output_bias), number(file.output_bias)},
          {"mlp_bias", number(model.mlp_bias), number(file.mlp_bias)}};
}

[[noreturn]] void refuse(const std::string& where, const std::string& what) {
  fail(ErrorCode::kUnsupported, where,
       "{}, which llama.cpp cannot compute for this architecture; export it as hf", what);
}

}  // namespace

std::string GgufMetadata::full(const std::string& key) const {
  return std::string(architecture_.gguf_name) + "." + key;
}
void GgufMetadata::integer(const std::string& key, int64_t value) {
  file_.set_u32(full(key), static_cast<uint32_t>(value));
}
void GgufMetadata::number(const std::string& key, double value) {
  file_.set_f32(full(key), static_cast<float>(value));
}
void GgufMetadata::text(const std::string& key, const std::string& value) {
  file_.set_string(full(key), value);
}

void GgufMetadata::require(bool holds, const std::string& what) const {
  if (!holds) refuse(where_, "the model has " + what);
}

void GgufMetadata::windows(const nn::DecoderConfig& config, int64_t usual_period) {
  int64_t window = 0, period = static_cast<int64_t>(config.layers.size()) + 1;
  for (size_t i = config.layers.size(); i > 0; --i) {
    window = std::max(window, config.layers[i - 1].window);
    if (config.layers[i - 1].window == 0) period = static_cast<int64_t>(i);
  }
  integer(key::kWindow, window);
  if (period != usual_period && period <= static_cast<int64_t>(config.layers.size()))
    integer(key::kWindowPattern, period);
}

void GgufMetadata::limits(const nn::DecoderConfig& config) const {
  const GgufLimits& can = architecture_.gguf_limits;
  require(can.qkv_bias || !config.qkv_bias, "biases of q, k and v (attention_bias)");
  require(can.output_bias || !config.output_bias, "a bias after attention (attention_bias)");
  require(can.mlp_bias || !config.mlp_bias, "biases in its MLP (mlp_bias)");
  require(can.tied_head || !config.ties_embeddings, "one matrix for embeddings and head");
  require(can.own_head || config.ties_embeddings, "a head that is not its embeddings");
  for (const auto& layer : config.layers) {
    if (can.windows || layer.window == 0 || layer.window >= config.max_positions) continue;
    fail(ErrorCode::kUnsupported, where_,
         "the model has a sliding window of {} within {} positions, which llama.cpp leaves out for "
         "this architecture; export it as hf, or lower max_position_embeddings in its config.json "
         "to {}, where the window makes no difference",
         layer.window, config.max_positions, layer.window);
  }
}

void GgufMetadata::config(const nn::DecoderConfig& config) {
  limits(config);
  integer(key::kContextLength, config.max_positions);
  integer(key::kEmbeddingLength, config.hidden);
  integer(key::kBlockCount, static_cast<int64_t>(config.layers.size()));
  integer(key::kFeedForwardLength, config.ffn);
  integer(key::kVocabSize, config.vocab);
  integer(key::kHeadCount, config.heads);
  integer(key::kHeadCountKv, config.kv_heads);
  integer(key::kKeyLength, config.head_dim);
  integer(key::kValueLength, config.head_dim);
  number(key::kNormEpsilon, config.norm_epsilon);
  rope(config.ropes.front());
  architecture_.to_gguf(*this, config);
}

void GgufMetadata::rope(const nn::RopeConfig& rope) {
  number(key::kRopeBase, rope.theta);
  integer(key::kRopeDimensions, rope.rotated);
  if (rope.type == "linear") {
    text(key::kRopeType, rope.type);
    number(key::kRopeFactor, rope.factor);
  } else if (rope.type == "yarn") {
    yarn(rope);
  } else if (rope.type == "llama3") {
    divisors(rope);
  } else if (rope.type == "longrope") {
    long_rope(rope);
  } else {
    require(rope.type == "default", "rotary positions of the type '" + rope.type + "'");
  }
}

// As YaRN where it has the constants that llama.cpp takes for granted, else as plain factors.
void GgufMetadata::yarn(const nn::RopeConfig& rope) {
  const nn::RopeConfig usual;
  if (!is_same(rope.beta_fast, usual.beta_fast) || !is_same(rope.beta_slow, usual.beta_slow) ||
      !rope.truncates) {
    return divisors(rope);
  }
  text(key::kRopeType, rope.type);
  number(key::kRopeFactor, rope.factor);
  integer(key::kRopeOriginalContext,
          rope.original_max_positions > 0 ? rope.original_max_positions : rope.max_positions);
  const double amplitude = nn::rope_frequencies(rope, 1).amplitude;
  const double own = nn::yarn_magnitude(rope.factor);
  if (!is_same(amplitude, own)) number(key::kRopeAmplitude, amplitude / own);
}

void GgufMetadata::divisors(const nn::RopeConfig& rope) {
  require(architecture_.gguf_limits.rope_divisors,
          "rotary positions of the type '" + rope.type + "' as it sets them");
  nn::RopeConfig plain;
  plain.theta = rope.theta;
  plain.rotated = rope.rotated;
  std::vector<double> factors = nn::rope_frequencies(plain, 1).values;
  const auto scaled = nn::rope_frequencies(rope, 1);
  for (size_t i = 0; i < factors.size(); ++i) factors[i] /= scaled.values[i];
  tensors_.emplace_back(key::kRopeDivisors, to_f32(factors));
  if (!is_same(scaled.amplitude, 1)) number(key::kRopeAmplitude, scaled.amplitude);
}

// llama.cpp picks one of the two lists by the length of its context, where transformers picks by
// the length of the text.
void GgufMetadata::long_rope(const nn::RopeConfig& rope) {
  require(architecture_.gguf_limits.long_rope, "rotary positions of the type 'longrope'");
  text(key::kRopeType, rope.type);
  integer(key::kRopeOriginalContext,
          rope.original_max_positions > 0 ? rope.original_max_positions : rope.max_positions);
  number(key::kRopeAmplitude, nn::rope_frequencies(rope, 1).amplitude);
  tensors_.emplace_back(key::kRopeLong, to_f32(rope.long_factors));
  tensors_.emplace_back(key::kRopeShort, to_f32(rope.short_factors));
}

void check_gguf_config(const io::GgufFile& file, const nn::DecoderConfig& config,
                       const std::string& where) {
  const Named<Architecture>* ignored = nullptr;
  const nn::DecoderConfig read = read_gguf_config(file, &ignored);
  for (const Compared& row : compared(config, read)) {
    if (is_same(row.model, row.file)) continue;
    refuse(where, fmt::format("{} is {:g} in the model and {:g} in its GGUF file", row.name,
                              row.model, row.file));
  }
  for (size_t i = 0; i < config.layers.size(); ++i) {
    const auto &mine = config.layers[i], &theirs = read.layers[i];
    const bool sees_all = mine.window == 0 || mine.window >= config.max_positions;
    const bool same_window = mine.window == theirs.window || (sees_all && theirs.window == 0);
    const auto& rope = config.ropes[static_cast<size_t>(mine.rope)];
    const auto& other = read.ropes[static_cast<size_t>(theirs.rope)];
    const bool same_rope = mine.uses_rope == theirs.uses_rope &&
                           (!mine.uses_rope || (is_same(rope, other, 1) &&
                                                is_same(rope, other, 2 * config.max_positions)));
    if (same_window && same_rope) continue;
    refuse(where, fmt::format("layer {} has {} that its GGUF file cannot give it", i,
                              same_window ? "rotary positions" : "a sliding window"));
  }
}

}  // namespace moxie::models
