#pragma once
// Attention over a ragged batch, tiled with an online softmax: nothing of size tokens x tokens is
// stored, forward or backward (Dao et al., 2022; Dao, 2023).
//
//   s_ij = cap(scale q_i . k_j), p_ij = exp(s_ij - lse_i), out_i = sum_j p_ij v_j
//
// q, out, dout, dq are [N, heads * head_dim]; the rows of a sequence's k and v are
// [kv_heads * head_dim]. Query i of a sequence stands at position kv_len - q_len + i, so the same
// call serves training, prefill and decoding from a cache. Query head h reads key head
// h / (heads / kv_heads). Key j is visible when it is not after the query (is_causal) and
// position - j < window (window > 0). Work is split by output: bits do not depend on threads, and
// sequences do not influence each other.
#include <cstdint>
#include <span>

#include "base/cpu.h"
#include "kernels/gemm.h"

namespace moxie::kernels {

// What many rows are rounded to: bf16 where that is asked for, but where FMAs would multiply its
// tiles, 16-bit integers, which are twice as fast and closer.
inline bool rounds_to_bf16(Arithmetic arithmetic) {
  return (arithmetic == Arithmetic::kBF16 || arithmetic == Arithmetic::kTiles8) &&
         !bf16_runs_on_fma();
}
inline bool rounds_to_int16(Arithmetic arithmetic) {
  return (arithmetic == Arithmetic::kInt16 || arithmetic == Arithmetic::kBF16 ||
          arithmetic == Arithmetic::kTiles8) &&
         !rounds_to_bf16(arithmetic);
}

// Rows of keys or of values: plain or, in a cache, halves. One of both is not null.
template <class T>
struct KeyRows {
  KeyRows(const T* rows) : plain(rows) {}
  KeyRows(const Float16* rows) : halves(rows) {}
  const T* plain = nullptr;
  const Float16* halves = nullptr;  // the backward takes none
};

template <class T>
struct AttentionSequence {
  int64_t q_begin, q_len;  // its rows of q
  KeyRows<T> k, v;
  int64_t kv_len;
};

template <class T>
struct AttentionShape {
  int64_t heads = 1, kv_heads = 1, head_dim = 1;
  T scale = 1;
  bool is_causal = true;
  int64_t window = 0;        // 0: all
  T softcap = 0;             // s = cap tanh(s / cap); 0: none
  const T* sinks = nullptr;  // [heads]: one more score in each softmax's denominator
  // If rounds_to_bf16(), q, k, v, p, dout and ds are where many rows are multiplied, and if
  // rounds_to_int16() to integers that share a scale (up to a head_dim of 512); softmaxes, sums and
  // sequences of one query stay in f32. kTiles8 is kBF16 but for what the backward sums up in
  // tiles, weighed with p or ds: both factors in 8 bits (micro_tiles.h). The forward's is not,
  // since one key may take nearly all weight.
  Arithmetic arithmetic = Arithmetic::kF32;
};

// Writes out and lse [N, heads], the log of each softmax's denominator (sink included). A query
// that sees no key gets zeros.
template <class T>
void attention_forward(const AttentionShape<T>& shape,
                       std::span<const AttentionSequence<T>> sequences, const T* q, T* out, T* lse);

// dq is overwritten, laid out as q. dk and dv are overwritten; they hold the rows of the sequences
// one after another, [sum of kv_len, kv_heads * head_dim]: in training those of q. dsinks [heads]
// is added to, if not null.
template <class T>
struct AttentionGradients {
  T* dq = nullptr;
  T* dk = nullptr;
  T* dv = nullptr;
  T* dsinks = nullptr;
};

template <class T>
void attention_backward(const AttentionShape<T>& shape,
                        std::span<const AttentionSequence<T>> sequences, const T* q, const T* out,
                        const T* lse, const T* dout, const AttentionGradients<T>& gradients);

}  // namespace moxie::kernels
