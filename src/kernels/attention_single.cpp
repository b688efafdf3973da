// Decoding: one query a sequence against a cache. Rows of keys are read as they lie, once for
// several of the query heads that share them, and long caches are cut into spans, of which every
// thread takes as many as make an equal share of the keys. The spans depend on the length alone, so
// the bits do not depend on the threads (Dao et al., "Flash-Decoding", 2023).
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/attention_tiles.h"
#include "kernels/rowwise.h"
#include "kernels/tile_ops.h"

namespace moxie::kernels {
namespace {

constexpr int64_t kSpan = 64;               // keys
constexpr int64_t kLittleWork = 24 * 1024;  // multiply-adds that one thread does sooner than two

// What the query heads of one key head make of a span of keys: for each head a weighted sum of
// values [head_dim], its largest score and the sum of exponentials above it.
template <class T>
struct Part {
  const AttentionSequence<T>* sequence;
  int64_t kv_head, begin, end;
  int64_t before;  // keys of all parts before this one
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
  const AttentionSequence<T>& s = *part.sequence;
  const T* query = q + (s.q_begin * shape.heads + part.kv_head * group) * d;
  T* scores = TileOps<T>::memory(Scratch::kTiles, group * kSpan);  // [group, count]
  if (s.k.halves != nullptr) {
    rows.group_dots_f16(query, group, s.k.halves + at, s.v.halves + at, stride, count, d,
                        shape.scale, scores);
  } else {
    rows.group_dots(query, group, s.k.plain + at, s.v.plain + at, stride, count, d, shape.scale,
                    scores);
  }
  if (shape.softcap > 0) rows.softcap(scores, shape.softcap, scores, group * count);
  for (int64_t h = 0; h < group; ++h) {
    T* own = scores + h * count;
    part.most[h] = rows.max(own, count);
    part.total[h] = rows.exp_sum(own, part.most[h], own, count);
  }
  if (s.v.halves != nullptr) {
    rows.group_mix_f16(scores, group, s.v.halves + at, stride, count, d, part.sums);
  } else {
    rows.group_mix(scores, group, s.v.plain + at, stride, count, d, part.sums);
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
  std::vector<size_t> heads;  // the first part of each, then the number of parts
  size_t most = 0;
  for (const AttentionSequence<T>* s : sequences)
    most += static_cast<size_t>(shape.kv_heads * (s->kv_len / kSpan + 1));
  parts.reserve(most);
  heads.reserve(sequences.size() * static_cast<size_t>(shape.kv_heads) + 1);
  int64_t keys = 0;
  for (const AttentionSequence<T>* s : sequences) {
    const KeyRange seen = visible_keys(shape, s->kv_len - 1, s->kv_len);
    for (int64_t h = 0; h < shape.kv_heads && seen.begin < seen.end; ++h) {
      heads.push_back(parts.size());
      for (int64_t begin = seen.begin; begin < seen.end; begin += kSpan) {
        const int64_t end = std::min(seen.end, begin + kSpan);
        parts.push_back({s, h, begin, end, keys, nullptr, nullptr, nullptr});
        keys += end - begin;
      }
    }
  }
  heads.push_back(parts.size());
  std::vector<T> memory(parts.size() * static_cast<size_t>(group * (shape.head_dim + 2)));
  T* free = memory.data();
  for (Part<T>& part : parts) {
    part.sums = free;
    part.most = part.sums + group * shape.head_dim;
    part.total = part.most + group;
    free = part.total + group;
  }
  const bool is_small = keys * group * shape.head_dim < kLittleWork;
  const int64_t lanes = is_small ? 1 : thread_count();
  const auto lane_of = [&](const Part<T>& part) {  // by the middle of its keys
    return (2 * part.before + part.end - part.begin) * lanes / (2 * keys);
  };
  const auto merge_where = [&](auto is_wanted) {  // by the lanes of a head's first and last part
    for (size_t i = 0; i + 1 < heads.size(); ++i) {
      const std::span<const Part<T>> all(parts.data() + heads[i], parts.data() + heads[i + 1]);
      if (!is_wanted(lane_of(all.front()), lane_of(all.back()))) continue;
      for (int64_t h = 0; h < group; ++h) merge<T>(shape, all, h, out, lse);
    }
  };
  parallel_for(lanes, 1, [&](int64_t begin, int64_t end) {
    for (int64_t lane = begin; lane < end; ++lane) {
      for (const Part<T>& part : parts) {
        if (lane_of(part) == lane) run_part(shape, part, q);
      }
      merge_where([lane](int64_t first, int64_t last) { return first == lane && last == lane; });
    }
  });
  merge_where([](int64_t first, int64_t last) { return first != last; });
}

template void attend_single(const AttentionShape<float>&,
                            std::span<const AttentionSequence<float>* const>, const float*, float*,
                            float*);
template void attend_single(const AttentionShape<double>&,
                            std::span<const AttentionSequence<double>* const>, const double*,
                            double*, double*);

}  // namespace moxie::kernels
