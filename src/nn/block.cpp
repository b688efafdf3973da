#include "nn/block.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/threads.h"
#include "kernels/attention.h"
#include "ops/add.h"
#include "ops/attention.h"
#include "ops/columns.h"
#include "ops/gated_mlp.h"
#include "ops/rms_norm.h"
#include "ops/scale.h"
#include "ops/swiglu.h"

namespace moxie::nn {
namespace {

Param read_vector(const WeightSource& source, const std::string& name, int64_t count) {
  Param param;
  param.name = name;
  param.value = source.vector(name, count);
  param.is_trainable = false;
  param.decays = false;
  return param;
}

Linear read_linear(const WeightSource& source, const std::string& name, int64_t layer, int64_t in,
                   int64_t out, bool has_bias) {
  Linear linear;
  linear.weight = Matrix(name, source.matrix(name, out, in));
  if (has_bias) linear.bias = std::make_unique<Param>(read_vector(source, name + ".bias", out));
  linear.site = {name, SiteKind::kLinear, in, out, layer, {}};
  return linear;
}

double attention_scale(const DecoderConfig& config) {
  return config.attention_scale > 0 ? config.attention_scale
                                    : 1.0 / std::sqrt(static_cast<double>(config.head_dim));
}

}  // namespace

Block::Block(const DecoderConfig& config, int64_t index_in, const WeightSource& source)
    : index(index_in) {
  const std::string prefix = "layers." + std::to_string(index) + ".";
  const int64_t d = config.hidden;
  const int64_t q_width = config.heads * config.head_dim;
  const int64_t kv_width = config.kv_heads * config.head_dim;
  const auto linear = [&](const char* name, int64_t in, int64_t out, bool has_bias) {
    return read_linear(source, prefix + name, index, in, out, has_bias);
  };
  const auto norm = [&](const char* name, int64_t count) {
    return read_vector(source, prefix + name, count);
  };
  if (config.placement != NormPlacement::kPost) {
    attn_norm = norm("attn_norm", d);
    mlp_norm = norm("mlp_norm", d);
  }
  if (config.placement != NormPlacement::kPre) {
    attn_post_norm = norm("attn_post_norm", d);
    mlp_post_norm = norm("mlp_post_norm", d);
  }
  if (config.qk_norm != QkNorm::kNone) {
    const bool whole = config.qk_norm == QkNorm::kFullWidth;
    q_norm = norm("attn.q_norm", whole ? q_width : config.head_dim);
    k_norm = norm("attn.k_norm", whole ? kv_width : config.head_dim);
  }
  if (config.fuses_qkv) {
    qkv = linear("attn.qkv", d, q_width + 2 * kv_width, config.qkv_bias);
  } else {
    q = linear("attn.q", d, q_width, config.qkv_bias);
    k = linear("attn.k", d, kv_width, config.qkv_bias);
    v = linear("attn.v", d, kv_width, config.qkv_bias);
  }
  o = linear("attn.o", q_width, d, config.output_bias);
  if (config.fuses_gate_up) {
    gate_up = linear("mlp.gate_up", d, 2 * config.ffn, config.mlp_bias);
  } else {
    gate = linear("mlp.gate", d, config.ffn, config.mlp_bias);
    up = linear("mlp.up", d, config.ffn, config.mlp_bias);
  }
  down = linear("mlp.down", config.ffn, d, config.mlp_bias);
  attn_stream = {prefix + "attn", SiteKind::kStream, d, d, index, {}};
  mlp_stream = {prefix + "mlp", SiteKind::kStream, d, d, index, {}};
  keys = {prefix + "attn.keys", SiteKind::kKv, kv_width, kv_width, index, {}};
  values = {prefix + "attn.values", SiteKind::kKv, kv_width, kv_width, index, {}};
}

void Block::visit_linears(const std::function<void(Linear&)>& f) {
  for (Linear* linear : {&q, &k, &v, &qkv, &o, &gate, &up, &gate_up, &down}) {
    if (!linear->site.name.empty()) f(*linear);
  }
}

void Block::visit_vectors(const std::function<void(Param&)>& f) {
  for (Param* param : {&attn_norm, &attn_post_norm, &mlp_norm, &mlp_post_norm, &q_norm, &k_norm}) {
    if (!param->name.empty()) f(*param);
  }
  visit_linears([&](Linear& linear) {
    if (linear.bias) f(*linear.bias);
  });
}

Tensor Block::norm(const DecoderConfig& config, Tensor x, const Param& weight) const {
  if (weight.name.empty()) return x;  // this placement has no norm here
  return ops::rms_norm(x, use(const_cast<Param&>(weight)), config.norm_epsilon, config.norm_shift,
                       o.weight.keeps_bf16());
}

Tensor Block::attend(const DecoderConfig& config, const Tensor& query, const Tensor& key,
                     const Tensor& value, const Pass& pass, kernels::SharedRows& kept) const {
  const int64_t window = config.layers[static_cast<size_t>(index)].window;
  const auto& states = pass.options.states;
  if (states.empty()) {
    const auto kept_out = std::make_shared<Tensor>();
    Tensor out =
        ops::attention(query, key, value, {},
                       {config.heads, config.kv_heads, config.head_dim, attention_scale(config),
                        window, config.attention_softcap, true, pass.batch.offsets,
                        o.weight.training_arithmetic(), o.weight.keeps_bf16(), kept_out});
    kept.plain = std::exchange(*kept_out, {});
    return out;
  }
  kernels::AttentionShape<float> shape;
  shape.heads = config.heads;
  shape.kv_heads = config.kv_heads;
  shape.head_dim = config.head_dim;
  shape.scale = static_cast<float>(attention_scale(config));
  shape.window = window;
  shape.arithmetic = o.weight.arithmetic();
  shape.softcap = static_cast<float>(config.attention_softcap);
  std::vector<kernels::AttentionSequence<float>> sequences;
  for (size_t s = 0; s < states.size(); ++s) {
    const int64_t begin = pass.batch.offsets[s];
    const int64_t count = pass.batch.offsets[s + 1] - begin;
    const int64_t at = begin * key.cols();
    states[s]->append(index, count, key.data<float>() + at, value.data<float>() + at);
    sequences.push_back({begin, count, states[s]->keys(index), states[s]->values(index),
                         states[s]->length() + count});
  }
  Tensor out = Tensor::empty(query.shape(), query.dtype());
  Tensor lse = Tensor::empty({query.rows(), config.heads}, query.dtype());
  kernels::attention_forward<float>(shape, sequences, query.data<float>(), out.data<float>(),
                                    lse.data<float>());
  return out;
}

Tensor Block::attention(const DecoderConfig& config, const Tensor& x, const Pass& pass) const {
  Tensor query;
  Tensor key;
  Tensor value;
  if (config.fuses_qkv) {
    const Tensor all = qkv.forward(x, pass.taps);
    const int64_t q_width = config.heads * config.head_dim;
    const int64_t kv_width = config.kv_heads * config.head_dim;
    query = ops::columns(all, 0, q_width);
    key = ops::columns(all, q_width, q_width + kv_width);
    value = ops::columns(all, q_width + kv_width, q_width + 2 * kv_width);
  } else {
    std::vector<Tensor> parts = forward_together({&q, &k, &v}, x, pass.taps);
    query = std::move(parts[0]);
    key = std::move(parts[1]);
    value = std::move(parts[2]);
  }
  if (config.qk_norm != QkNorm::kNone) {
    query = norm(config, query, q_norm);
    key = norm(config, key, k_norm);
  }
  const LayerConfig& layer = config.layers[static_cast<size_t>(index)];
  if (layer.uses_rope) {
    const auto& angles = pass.angles[static_cast<size_t>(layer.rope)];
    query = ops::rope(std::move(query), config.head_dim, angles);
    key = ops::rope(std::move(key), config.head_dim, angles);
  }
  key = keys.run_taps({}, std::move(key), pass.taps);
  value = values.run_taps({}, std::move(value), pass.taps);
  kernels::SharedRows kept;
  const Tensor out = attend(config, query, key, value, pass, kept);
  return o.forward(out, pass.taps, std::move(kept));
}

Tensor Block::mlp(const DecoderConfig& config, const Tensor& x, const Pass& pass) const {
  if (config.fuses_gate_up) {
    const Tensor both = gate_up.forward(x, pass.taps);
    return down.forward(
        ops::swiglu(ops::columns(both, 0, config.ffn),
                    ops::columns(both, config.ffn, 2 * config.ffn), config.activation),
        pass.taps);
  }
  if (x.dtype() == DType::kF32 && !config.mlp_bias) {
    auto gate_part = gate.part(x.rows(), pass.taps);
    auto up_part = up.part(x.rows(), pass.taps);
    auto down_part = down.part(x.rows(), pass.taps);
    if (gate_part && up_part && down_part) {
      return ops::gated_mlp(x, {*gate_part, *up_part, *down_part}, config.activation);
    }
  }
  const std::vector<Tensor> parts = forward_together({&gate, &up}, x, pass.taps);
  return down.forward(ops::swiglu(parts[0], parts[1], config.activation), pass.taps);
}

Tensor Block::forward(const DecoderConfig& config, const Tensor& stream, const Pass& pass) const {
  const auto add = [&](const Tensor& x, Tensor branch, const Site& site) {
    if (config.residual_scale != 1) branch = ops::scale(branch, config.residual_scale);
    return site.run_taps({}, ops::add(x, std::move(branch)), pass.taps);
  };
  Tensor branch = attention(config, norm(config, stream, attn_norm), pass);
  const Tensor middle = add(stream, norm(config, std::move(branch), attn_post_norm), attn_stream);
  branch = mlp(config, norm(config, middle, mlp_norm), pass);
  return add(middle, norm(config, std::move(branch), mlp_post_norm), mlp_stream);
}

}  // namespace moxie::nn
