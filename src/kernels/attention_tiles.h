#pragma once
// What the forward and the backward of attention share: which keys a query sees, and the order in
// which threads take units of work.
#include <algorithm>
#include <cstdint>
#include <functional>

#include "base/threads.h"
#include "kernels/attention.h"

namespace moxie::kernels {

inline constexpr int64_t kQueryTile = 64;
inline constexpr int64_t kKeyTile = 64;

struct KeyRange {
  int64_t begin, end;
};

template <class T>
KeyRange visible_keys(const AttentionShape<T>& shape, int64_t position, int64_t kv_len) {
  const int64_t end = shape.is_causal ? std::min(kv_len, position + 1) : kv_len;
  const int64_t begin = shape.window > 0 ? std::max<int64_t>(0, position - shape.window + 1) : 0;
  return {std::min(begin, end), end};
}

// Calls body(unit) for units 0 .. count - 1, dealt to the threads like cards: neighbours cost
// alike, and the cost of causal tiles grows along a sequence.
inline void deal(int64_t count, const std::function<void(int64_t)>& body) {
  const int64_t lanes = std::min<int64_t>(count, thread_count());
  parallel_for(lanes, 1, [&](int64_t begin, int64_t end) {
    for (int64_t lane = begin; lane < end; ++lane) {
      for (int64_t unit = lane; unit < count; unit += lanes) body(unit);
    }
  });
}

// attention_forward for sequences of one query: attention_single.cpp.
template <class T>
void attend_single(const AttentionShape<T>& shape,
                   std::span<const AttentionSequence<T>* const> sequences, const T* q, T* out,
                   T* lse);

}  // namespace moxie::kernels
