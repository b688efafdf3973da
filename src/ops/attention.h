#pragma once
// Causal self-attention over a ragged batch. Query i of a sequence sees keys j <= i of that
// sequence, and with a window only those with i - j < window. Grouped heads: query head h reads key
// head h / (heads / kv_heads). Nothing of size tokens x tokens is stored: per query and head only
// the log-sum-exp of its scores is kept for the backward (Dao et al., 2022).
#include <memory>
#include <vector>

#include "kernels/gemm.h"
#include "ops/tape.h"

namespace moxie::ops {

struct AttentionOptions {
  int64_t heads = 1, kv_heads = 1, head_dim = 1;
  double scale = 1;
  int64_t window = 0;  // 0: all
  double softcap = 0;  // scores become cap * tanh(score / cap); 0: none
  bool is_causal = true;
  std::vector<int64_t> offsets;                                // [sequences + 1]
  kernels::Arithmetic arithmetic = kernels::Arithmetic::kF32;  // kernels/attention.h
  // What the backward needs, in bf16 (kept.h): then both ways see q, k and v rounded so. The result
  // in bf16 is left in `kept_out` too, if that is given, for others that keep it.
  bool keeps_bf16 = false;
  std::shared_ptr<Tensor> kept_out = nullptr;
};

// q [N, heads * head_dim], k and v [N, kv_heads * head_dim] -> [N, heads * head_dim].
// sinks [heads], when defined, joins each softmax's denominator as one more score.
Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& sinks,
                 AttentionOptions options);

}  // namespace moxie::ops
