#pragma once
// What the backward passes of attention share: a thread's unit of work.
#include <cstddef>
#include <cstdint>

#include "kernels/attention_tiles.h"

namespace moxie::kernels {

inline constexpr int64_t kGradientQueries = 96;  // a unit's queries begin and end at such tiles

// Queries [begin, end) of the heads of one key head of a sequence, and the keys that they see.
template <class T>
struct GradientUnit {
  size_t sequence;
  int64_t kv_head, begin, end;
  KeyRange keys;
  int64_t cost;     // pairs of a query and a key
  T* dk = nullptr;  // its share of the sums, [keys, head_dim]
  T* dv = nullptr;
};

// Rows of a head of q stand `stride` apart, of k and v `kv_stride`.
template <class T>
struct GradientPass {
  const AttentionShape<T>& shape;
  const AttentionSequence<T>& s;
  const T* q;
  const T* dout;
  T* dq;
  const T* lse;
  const T* delta;  // do_i . out_i, as lse is laid out
  int64_t stride, kv_stride;

  int64_t position(int64_t i) const { return s.kv_len - s.q_len + i; }
};

// Writes dq of a unit's queries and its dk and dv, with products in bf16:
// attention_backward_bf16.cpp.
void gradients_bf16(const GradientPass<float>& pass, const GradientUnit<float>& unit);

}  // namespace moxie::kernels
