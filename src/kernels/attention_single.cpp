// Decoding: one query a sequence against a cache. Rows of keys and of values are read as they lie,
// once for all heads, and caches are cut into spans, of which every thread takes as many as make an
// equal share of the keys. The spans depend on the length alone, so the bits do not depend on the
// threads (Dao et al., "Flash-Decoding", 2023).
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/attention_tiles.h"
#include "kernels/rowwise.h"
#include "kernels/tile_ops.h"

namespace moxie::kernels {
namespace {

constexpr int64_t kLittleWork = 24 * 1024;  // multiply-adds that one thread does sooner than two

// Keys of a span: more of them are less to merge, fewer are dealt out more evenly.
int64_t span_of(int64_t keys) {
  return keys > 512 ? 64 : 32;
}

// What all query heads make of a span of keys: for each a weighted sum of values [head_dim], its
// largest score and the sum of exponentials above it.
template <class T>
struct Part {
  const AttentionSequence<T>* sequence;
  int64_t begin, end;
  int64_t before;  // keys of all parts before this one
  T* sums = nullptr;
  T* most = nullptr;
  T* total = nullptr;
};

template <class T>
void run_part(const AttentionShape<T>& shape, const Part<T>& part, const T* q) {
  const auto& rows = row_kernels<T>();
  const int64_t count = part.end - part.begin;
  const SharedKeys keys{shape.kv_heads, shape.heads / shape.kv_heads, count, shape.head_dim};
  const int64_t at = part.begin * keys.width();
  const AttentionSequence<T>& s = *part.sequence;
  const T* query = q + s.q_begin * shape.heads * shape.head_dim;
  T* scores = TileOps<T>::memory(Scratch::kTiles, shape.heads * count);  // [heads, count]
  if (s.k.halves != nullptr) {
    rows.group_dots_f16(query, keys, s.k.halves + at, shape.scale, scores);
  } else {
    rows.group_dots(query, keys, s.k.plain + at, shape.scale, scores);
  }
  if (shape.softcap > 0) rows.softcap(scores, shape.softcap, scores, shape.heads * count);
  for (int64_t h = 0; h < shape.heads; ++h) {
    T* own = scores + h * count;
    part.most[h] = rows.max(own, count);
    part.total[h] = rows.exp_sum(own, part.most[h], own, count);
  }
  if (s.v.halves != nullptr) {
    rows.group_mix_f16(scores, keys, s.v.halves + at, part.sums);
  } else {
    rows.group_mix(scores, keys, s.v.plain + at, part.sums);
  }
}

// The parts of a sequence, in order, become `out` and `lse` of query head h.
template <class T>
void merge(const AttentionShape<T>& shape, std::span<const Part<T>> parts, int64_t h, T* out,
           T* lse) {
  const auto& rows = row_kernels<T>();
  const int64_t d = shape.head_dim;
  const int64_t row = parts.front().sequence->q_begin * shape.heads + h;
  T top = shape.sinks != nullptr ? shape.sinks[h] : -std::numeric_limits<T>::infinity();
  for (const Part<T>& part : parts) top = std::max(top, part.most[h]);
  T total = shape.sinks != nullptr ? std::exp(shape.sinks[h] - top) : T{0};
  std::fill_n(out + row * d, d, T{0});
  for (const Part<T>& part : parts) {
    const T share = std::exp(part.most[h] - top);
    total += part.total[h] * share;
    rows.add_scaled(part.sums + h * d, share, out + row * d, d);
  }
  rows.scale(T{1} / total, out + row * d, d);
  lse[row] = top + std::log(total);
}

// One sequence's parts follow one another.
template <class T>
std::vector<Part<T>> parts_of(const AttentionShape<T>& shape,
                              std::span<const AttentionSequence<T>* const> sequences) {
  std::vector<Part<T>> parts;
  int64_t keys = 0;
  for (const AttentionSequence<T>* s : sequences) {
    const KeyRange seen = visible_keys(shape, s->kv_len - 1, s->kv_len);
    const int64_t span = span_of(seen.end - seen.begin);
    for (int64_t begin = seen.begin; begin < seen.end; begin += span) {
      const int64_t end = std::min(seen.end, begin + span);
      parts.push_back({s, begin, end, keys});
      keys += end - begin;
    }
  }
  return parts;
}

}  // namespace

template <class T>
void attend_single(const AttentionShape<T>& shape,
                   std::span<const AttentionSequence<T>* const> sequences, const T* q, T* out,
                   T* lse) {
  std::vector<Part<T>> parts = parts_of(shape, sequences);
  if (parts.empty()) return;
  const int64_t heads = shape.heads, d = shape.head_dim;
  const int64_t floats = std::ssize(parts) * heads * (d + 2);
  T* free = TileOps<T>::memory(Scratch::kStrips, floats);
  for (Part<T>& part : parts) {
    part.sums = free;
    part.most = part.sums + heads * d;
    part.total = part.most + heads;
    free = part.total + heads;
  }
  const int64_t keys = parts.back().before + parts.back().end - parts.back().begin;
  const int64_t lanes = keys * heads * d < kLittleWork ? 1 : thread_count();
  const auto lane_of = [&](const Part<T>& part) {  // by the middle of its keys
    return (2 * part.before + part.end - part.begin) * lanes / (2 * keys);
  };
  // Calls f(parts of a sequence), for sequences whose first and last part's lanes are wanted.
  const auto sequences_where = [&](auto is_wanted, auto f) {
    for (auto first = parts.begin(); first != parts.end();) {
      const auto last = std::find_if(first, parts.end(), [&](const Part<T>& part) {
        return part.sequence != first->sequence;
      });
      if (is_wanted(lane_of(*first), lane_of(*(last - 1))))
        f(std::span<const Part<T>>(first, last));
      first = last;
    }
  };
  parallel_for(lanes, 1, [&](int64_t begin, int64_t end) {
    for (const Part<T>& part : parts) {
      const int64_t lane = lane_of(part);
      if (begin <= lane && lane < end) run_part(shape, part, q);
    }
    sequences_where(
        [=](int64_t first, int64_t last) { return first == last && begin <= first && last < end; },
        [&](std::span<const Part<T>> own) {
          for (int64_t h = 0; h < heads; ++h) merge<T>(shape, own, h, out, lse);
        });
  });
  sequences_where([](int64_t first, int64_t last) { return first != last; },
                  [&](std::span<const Part<T>> own) {
                    const int64_t grain = 1 + kLittleWork / (std::ssize(own) * d);
                    parallel_for(heads, grain, [&](int64_t begin, int64_t end) {
                      for (int64_t h = begin; h < end; ++h) merge<T>(shape, own, h, out, lse);
                    });
                  });
}

template void attend_single(const AttentionShape<float>&,
                            std::span<const AttentionSequence<float>* const>, const float*, float*,
                            float*);
template void attend_single(const AttentionShape<double>&,
                            std::span<const AttentionSequence<double>* const>, const double*,
                            double*, double*);

}  // namespace moxie::kernels
