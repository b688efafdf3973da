#pragma once
// The online softmax of rows of queries: what the forward passes of attention share.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/attention_tiles.h"
#include "kernels/rowwise.h"

namespace moxie::kernels {

// Rows of q of one head, at consecutive positions.
template <class T>
struct QueryBlock {
  const T* q;
  T* out;
  int64_t stride;  // between rows of q and of out
  int64_t count;
  int64_t position;  // of the first row
  T* lse;
  int64_t lse_stride;
  const T* sink;    // or null
  T *most, *total;  // of each row so far: the largest score, the exponentials' sum above it
};

// A block before it has seen any key.
template <class T>
void start(const QueryBlock<T>& block, int64_t head_dim) {
  std::fill_n(block.most, block.count, -std::numeric_limits<T>::infinity());
  std::fill_n(block.total, block.count, T{0});
  for (int64_t i = 0; i < block.count; ++i)
    std::fill_n(block.out + i * block.stride, head_dim, T{0});
}

// Scores [from, to) of keys that a row does not see become -infinity, those of others capped.
template <class T>
void mask(const AttentionShape<T>& shape, KeyRange keys, int64_t from, int64_t to, T* scores) {
  constexpr T kNever = -std::numeric_limits<T>::infinity();
  if (shape.softcap > 0) {
    T* s = scores + keys.begin;
    row_kernels<T>().softcap(s, shape.softcap, s, keys.end - keys.begin);
  }
  std::fill(scores + from, scores + keys.begin, kNever);
  std::fill(scores + keys.end, scores + to, kNever);
}

// Rows [i, i + count) of a block have a larger maximum: what they have summed so far shrinks.
template <class T>
void shrink_rows(const QueryBlock<T>& block, int64_t i, int64_t count, const T* shrink,
                 int64_t head_dim) {
  for (int64_t r = 0; r < count; ++r) {
    if (shrink[r] != T{1}) {
      row_kernels<T>().scale(shrink[r], block.out + (i + r) * block.stride, head_dim);
    }
  }
}

// Divides by the denominators and writes their logarithms.
template <class T>
void finish(const QueryBlock<T>& block, int64_t head_dim) {
  for (int64_t i = 0; i < block.count; ++i) {
    T top = block.most[i];
    T sum = block.total[i];
    T shrink = 1;
    if (block.sink != nullptr) {
      top = std::max(top, *block.sink);
      shrink = std::exp(block.most[i] - top);
      sum = sum * shrink + std::exp(*block.sink - top);
    }
    block.lse[i * block.lse_stride] = top + std::log(sum);
    row_kernels<T>().scale(sum == T{0} ? T{0} : shrink / sum, block.out + i * block.stride,
                           head_dim);
  }
}

}  // namespace moxie::kernels
