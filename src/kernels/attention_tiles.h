#pragma once
// What the forward and the backward of attention share: which keys a query sees, and the order in
// which threads take units of work.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

#include "base/threads.h"
#include "kernels/attention.h"
#include "kernels/micro16.h"
#include "kernels/rowwise.h"
#include "kernels/scratch.h"

namespace moxie::kernels {

struct KeyRange {
  int64_t begin, end;
};

template <class T>
KeyRange visible_keys(const AttentionShape<T>& shape, int64_t position, int64_t kv_len) {
  const int64_t seen = std::max<int64_t>(0, position + 1);  // a query may stand before all keys
  const int64_t end = shape.is_causal ? std::min(kv_len, seen) : kv_len;
  const int64_t begin = shape.window > 0 ? std::max<int64_t>(0, position - shape.window + 1) : 0;
  return {std::min(begin, end), end};
}

// Of keys [j0, j1) those that queries at positions [first, last] see, counted from j0.
template <class T>
KeyRange visible_in(const AttentionShape<T>& shape, int64_t first, int64_t last, int64_t kv_len,
                    int64_t j0, int64_t j1) {
  const int64_t begin = visible_keys(shape, first, kv_len).begin;
  const int64_t end = visible_keys(shape, last, kv_len).end;
  const int64_t from = std::clamp(begin - j0, int64_t{0}, j1 - j0);
  return {from, std::clamp(end - j0, from, j1 - j0)};
}

// Whether tiles of many queries are multiplied in 16-bit integers.
template <class T>
bool runs_int16(const AttentionShape<T>& shape) {
  return rounds_to_int16(shape.arithmetic) && shape.head_dim <= kDeepest16;
}

template <class T>
struct PlainRows {
  const T* data;
  int64_t stride;
};

// `count` rows of d numbers from the element `at` on: where they stand or, if they are halves,
// converted to memory that the thread's next call uses again.
template <class T>
PlainRows<T> plain_rows(const KeyRows<T>& rows, int64_t at, int64_t stride, int64_t count,
                        int64_t d) {
  if (rows.halves == nullptr) return {rows.plain + at, stride};
  const auto bytes = static_cast<size_t>(count * d) * sizeof(T);
  T* room = reinterpret_cast<T*>(scratch(Scratch::kRows, bytes / sizeof(float)));
  row_kernels<T>().widen(rows.halves + at, stride, count, d, room);
  return {room, d};
}

// Calls body(unit) for all units, each on one thread: those that cost most first, and a thread
// takes the next one when it is done, so that all end together.
template <class Unit>
void deal(const std::vector<Unit>& units, const std::function<void(const Unit&)>& body) {
  std::vector<const Unit*> order;
  for (const Unit& unit : units) order.push_back(&unit);
  std::stable_sort(order.begin(), order.end(),
                   [](const Unit* a, const Unit* b) { return a->cost > b->cost; });
  std::atomic<size_t> next{0};
  const auto lanes = std::min<int64_t>(static_cast<int64_t>(units.size()), thread_count());
  parallel_for(lanes, 1, [&](int64_t, int64_t) {
    for (size_t turn = next++; turn < order.size(); turn = next++) body(*order[turn]);
  });
}

// attention_forward in bf16: attention_bf16.cpp.
void attend_bf16(const AttentionShape<float>& shape,
                 std::span<const AttentionSequence<float>* const> sequences, const float* q,
                 float* out, float* lse);

// attention_forward for sequences of one query: attention_single.cpp.
template <class T>
void attend_single(const AttentionShape<T>& shape,
                   std::span<const AttentionSequence<T>* const> sequences, const T* q, T* out,
                   T* lse);

}  // namespace moxie::kernels
