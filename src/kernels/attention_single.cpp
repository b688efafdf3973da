// Decoding: one query a sequence against a cache. Rows of keys are read as they lie, by all query
// heads that share them, and long caches are cut into spans that threads take like cards. The spans
// depend on the length alone, so the bits do not depend on the threads (Dao et al.,
// "Flash-Decoding", 2023).
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/attention_tiles.h"
#include "kernels/rowwise.h"

namespace moxie::kernels {
namespace {

constexpr int64_t kSpan = 64;              // keys
constexpr int64_t kSmallWork = 24 * 1024;  // multiply-adds that one thread does sooner than two

// What the query heads of one key head make of a span of keys: for each head a weighted sum of
// values [head_dim], its largest score and the sum of exponentials above it.
template <class T>
struct Part {
  const AttentionSequence<T>* sequence;
  int64_t kv_head, begin, end;
  T* sums;
  T* most;
  T* total;
};

template <class T>
void run_part(const AttentionShape<T>& shape, const Part<T>& part, const T* q) {
  const auto& rows = row_kernels<T>();
  const int64_t d = shape.head_dim;
  const int64_t stride = shape.kv_heads * d;
  const int64_t group = shape.heads / shape.kv_heads;
  const int64_t count = part.end - part.begin;
  const int64_t at = part.begin * stride + part.kv_head * d;
  const T* query = q + (part.sequence->q_begin * shape.heads + part.kv_head * group) * d;
  T scores[kSpan];
  for (int64_t h = 0; h < group; ++h) {
    rows.dots(query + h * d, part.sequence->k + at, stride, count, d, shape.scale, scores);
    if (shape.softcap > 0) rows.softcap(scores, shape.softcap, scores, count);
    part.most[h] = rows.max(scores, count);
    part.total[h] = rows.exp_sum(scores, part.most[h], scores, count);
    rows.mix(scores, part.sequence->v + at, stride, count, d, part.sums + h * d);
  }
}

// The parts of one key head, in order, become `out` and `lse` of query head h of its group.
template <class T>
void merge(const AttentionShape<T>& shape, std::span<const Part<T>> parts, int64_t h, T* out,
           T* lse) {
  const auto& rows = row_kernels<T>();
  const int64_t d = shape.head_dim;
  const int64_t head = parts.front().kv_head * (shape.heads / shape.kv_heads) + h;
  const int64_t row = parts.front().sequence->q_begin * shape.heads + head;
  T top = shape.sinks != nullptr ? shape.sinks[head] : -std::numeric_limits<T>::infinity();
  for (const Part<T>& part : parts) top = std::max(top, part.most[h]);
  T total = shape.sinks != nullptr ? std::exp(shape.sinks[head] - top) : T{0};
  std::fill_n(out + row * d, d, T{0});
  for (const Part<T>& part : parts) {
    const T share = std::exp(part.most[h] - top);
    total += part.total[h] * share;
    rows.add_scaled(part.sums + h * d, share, out + row * d, d);
  }
  rows.scale(T{1} / total, out + row * d, d);
  lse[row] = top + std::log(total);
}

}  // namespace

template <class T>
void attend_single(const AttentionShape<T>& shape,
                   std::span<const AttentionSequence<T>* const> sequences, const T* q, T* out,
                   T* lse) {
  const int64_t group = shape.heads / shape.kv_heads;
  std::vector<Part<T>> parts;
  int64_t work = 0;
  for (const AttentionSequence<T>* s : sequences) {
    const KeyRange keys = visible_keys(shape, s->kv_len - 1, s->kv_len);
    work += (keys.end - keys.begin) * shape.heads * shape.head_dim;
    for (int64_t h = 0; h < shape.kv_heads; ++h) {
      for (int64_t begin = keys.begin; begin < keys.end; begin += kSpan)
        parts.push_back(
            {s, h, begin, std::min(keys.end, begin + kSpan), nullptr, nullptr, nullptr});
    }
  }
  const auto count = static_cast<int64_t>(parts.size());
  std::vector<T> memory(static_cast<size_t>(count * group * (shape.head_dim + 2)));
  T* free = memory.data();
  for (Part<T>& part : parts) {
    part.sums = free;
    part.most = part.sums + group * shape.head_dim;
    part.total = part.most + group;
    free = part.total + group;
  }
  const auto run = [&](int64_t i) { run_part(shape, parts[static_cast<size_t>(i)], q); };
  if (work < kSmallWork) {
    for (int64_t i = 0; i < count; ++i) run(i);
  } else {
    deal(count, run);
  }
  for (size_t first = 0; first < parts.size();) {
    size_t last = first;
    while (last < parts.size() && parts[last].sequence == parts[first].sequence &&
           parts[last].kv_head == parts[first].kv_head)
      ++last;
    for (int64_t h = 0; h < group; ++h)
      merge<T>(shape, {parts.data() + first, last - first}, h, out, lse);
    first = last;
  }
}

template void attend_single(const AttentionShape<float>&,
                            std::span<const AttentionSequence<float>* const>, const float*, float*,
                            float*);
template void attend_single(const AttentionShape<double>&,
                            std::span<const AttentionSequence<double>* const>, const double*,
                            double*, double*);

}  // namespace moxie::kernels
