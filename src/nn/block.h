#pragma once
// One block of a decoder: attention and a gated MLP around a residual stream [N, hidden].
#include "nn/decoder.h"

namespace moxie::nn {

// What all blocks of one forward share.
struct Pass {
  const Batch& batch;
  const ForwardOptions& options;
  TapContext taps;
  std::vector<std::shared_ptr<const ops::RopeAngles>> angles;  // by DecoderConfig::ropes
};

struct Block {
  Block(const DecoderConfig& config, int64_t index, const WeightSource& source);
  Tensor forward(const DecoderConfig& config, const Tensor& stream, const Pass& pass) const;
  void visit_linears(const std::function<void(Linear&)>& f);
  void visit_vectors(const std::function<void(Param&)>& f);

  int64_t index;
  Param attn_norm, attn_post_norm, mlp_norm, mlp_post_norm, q_norm, k_norm;  // empty where unused
  Linear q, k, v, qkv, o, gate, up, gate_up, down;
  Site attn_stream, mlp_stream;
  Site keys, values;  // of the attention, as it reads and caches them [N, kv_heads * head_dim]

 private:
  Tensor attention(const DecoderConfig& config, const Tensor& x, const Pass& pass) const;
  Tensor attend(const DecoderConfig& config, const Tensor& query, const Tensor& key,
                const Tensor& value, const Pass& pass, kernels::SharedRows& kept) const;
  Tensor mlp(const DecoderConfig& config, const Tensor& x, const Pass& pass) const;
  Tensor norm(const DecoderConfig& config, Tensor x, const Param& weight) const;
};

}  // namespace moxie::nn
