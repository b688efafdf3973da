#pragma once
// Attention over ragged sequences, forward and backward, without a tokens x tokens matrix: per
// query and head only the log-sum-exp of its scores is kept. Query i of a sequence sits at position
// kv_len - q_len + i and sees key j iff j <= its position (when causal) and position - j < window
// (when a window is set). Sequences are disjoint; work is split by sequence and key head.
#include <cstdint>
#include <vector>

namespace moxie::kernels {

template <class T>
struct AttentionShape {
  int64_t heads = 1, kv_heads = 1, head_dim = 1;
  T scale = 1;
  bool is_causal = true;
  int64_t window = 0;        // 0: none
  T softcap = 0;             // cap * tanh(score / cap); 0: none
  const T* sinks = nullptr;  // [heads] or null
};

template <class T>
struct AttentionSequence {
  int64_t q_begin, q_len;  // its rows of q
  const T* k;              // [kv_len, kv_heads * head_dim]
  const T* v;
  int64_t kv_len;
};

template <class T>
struct AttentionGradients {  // overwritten; dk and dv have the layout of the keys when kv_len ==
                             // q_len
  T* dq = nullptr;           // [N, heads * head_dim]
  T* dk = nullptr;           // [N, kv_heads * head_dim], rows of a sequence start at q_begin
  T* dv = nullptr;
  T* dsinks = nullptr;  // [heads] or null; added to
};

// q and out [N, heads * head_dim], lse [N, heads]. T is float or double.
template <class T>
void attention_forward(const AttentionShape<T>& shape,
                       const std::vector<AttentionSequence<T>>& sequences, const T* q, T* out,
                       T* lse);
// Every sequence has kv_len == q_len here.
template <class T>
void attention_backward(const AttentionShape<T>& shape,
                        const std::vector<AttentionSequence<T>>& sequences, const T* q,
                        const T* out, const T* lse, const T* d_out,
                        const AttentionGradients<T>& gradients);

}  // namespace moxie::kernels
