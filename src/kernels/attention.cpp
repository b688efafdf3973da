#include "kernels/attention.h"

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/attention_tiles.h"
#include "kernels/rowwise.h"
#include "kernels/tile_ops.h"

namespace moxie::kernels {
namespace {

// Up to kQueryTile rows of q of one head, at consecutive positions.
template <class T>
struct QueryBlock {
  const T* q;
  T* out;
  int64_t stride;  // between rows of q and of out
  int64_t count;
  int64_t position;  // of the first row
  T* lse;
  int64_t lse_stride;
  const T* sink;  // or null
};

// Scores of a tile of keys become weights; the rows of `out` so far are rescaled to the new
// maximum.
template <class T>
void soften(const AttentionShape<T>& shape, const QueryBlock<T>& block, int64_t kv_len, int64_t j0,
            int64_t j1, T* scores, T* most, T* total) {
  const auto& rows = row_kernels<T>();
  for (int64_t i = 0; i < block.count; ++i) {
    T* s = scores + i * kKeyTile;
    const KeyRange keys = visible_keys(shape, block.position + i, kv_len);
    const int64_t begin = std::clamp(keys.begin - j0, int64_t{0}, j1 - j0);
    const int64_t end = std::clamp(keys.end - j0, begin, j1 - j0);
    std::fill(s, s + begin, T{0});
    std::fill(s + end, s + (j1 - j0), T{0});
    if (begin == end) continue;
    if (shape.softcap > 0) rows.softcap(s + begin, shape.softcap, s + begin, end - begin);
    const T top = std::max(most[i], rows.max(s + begin, end - begin));
    const T sum = rows.exp_sum(s + begin, top, s + begin, end - begin);
    const T shrink = std::exp(most[i] - top);  // 0 for the row's first keys
    total[i] = total[i] * shrink + sum;
    most[i] = top;
    if (shrink != T{1}) rows.scale(shrink, block.out + i * block.stride, shape.head_dim);
  }
}

template <class T>
void finish(const QueryBlock<T>& block, int64_t head_dim, const T* most, const T* total) {
  const auto& rows = row_kernels<T>();
  for (int64_t i = 0; i < block.count; ++i) {
    T top = most[i];
    T sum = total[i];
    T shrink = 1;
    if (block.sink != nullptr) {
      top = std::max(top, *block.sink);
      shrink = std::exp(most[i] - top);
      sum = sum * shrink + std::exp(*block.sink - top);
    }
    block.lse[i * block.lse_stride] = top + std::log(sum);
    rows.scale(sum == T{0} ? T{0} : shrink / sum, block.out + i * block.stride, head_dim);
  }
}

// The blocks of one key head over one tile of queries: each tile of keys is packed once for all.
template <class T>
void run_blocks(const AttentionShape<T>& shape, const AttentionSequence<T>& s, int64_t kv_head,
                const std::vector<QueryBlock<T>>& blocks) {
  const int64_t d = shape.head_dim;
  const int64_t stride = shape.kv_heads * d;
  const T* keys = s.k + kv_head * d;
  const T* values = s.v + kv_head * d;
  const int64_t key_floats = packed_size<T>(d, kKeyTile);
  const int64_t value_floats = packed_size<T>(kKeyTile, d);
  const auto states = static_cast<int64_t>(blocks.size()) * kQueryTile;
  T* packed_keys = TileOps<T>::memory(
      Scratch::kTiles, key_floats + value_floats + kQueryTile * kKeyTile + 2 * states);
  T* packed_values = packed_keys + key_floats;
  T* scores = packed_values + value_floats;
  T* most = scores + kQueryTile * kKeyTile;
  T* total = most + states;
  std::fill_n(most, states, -std::numeric_limits<T>::infinity());
  std::fill_n(total, states, T{0});

  const QueryBlock<T>& first = blocks.front();
  const int64_t last_position = first.position + first.count - 1;
  const int64_t begin = visible_keys(shape, first.position, s.kv_len).begin;
  const int64_t end = visible_keys(shape, last_position, s.kv_len).end;
  for (const auto& block : blocks) {
    for (int64_t i = 0; i < block.count; ++i) std::fill_n(block.out + i * block.stride, d, T{0});
  }
  for (int64_t j0 = begin; j0 < end; j0 += kKeyTile) {
    const int64_t j1 = std::min(end, j0 + kKeyTile);
    pack_transposed(d, j1 - j0, keys + j0 * stride, stride, packed_keys);
    pack_rows(j1 - j0, d, values + j0 * stride, stride, packed_values);
    for (size_t b = 0; b < blocks.size(); ++b) {
      const auto& block = blocks[b];
      const auto state = static_cast<int64_t>(b) * kQueryTile;
      multiply(block.count, j1 - j0, d, block.q, block.stride, int64_t{1}, packed_keys, scores,
               kKeyTile, shape.scale, false);
      soften(shape, block, s.kv_len, j0, j1, scores, most + state, total + state);
      multiply(block.count, d, j1 - j0, scores, kKeyTile, int64_t{1}, packed_values, block.out,
               block.stride, T{1}, true);
    }
  }
  for (size_t b = 0; b < blocks.size(); ++b) {
    const auto state = static_cast<int64_t>(b) * kQueryTile;
    finish(blocks[b], d, most + state, total + state);
  }
}

template <class T>
struct Unit {
  const AttentionSequence<T>* sequence;
  int64_t kv_head, begin, count;  // queries [begin, begin + count) of the sequence
};

template <class T>
void run_unit(const AttentionShape<T>& shape, const Unit<T>& unit, const T* q, T* out, T* lse) {
  const int64_t d = shape.head_dim;
  const int64_t group = shape.heads / shape.kv_heads;
  const int64_t head = unit.kv_head * group;
  const AttentionSequence<T>& s = *unit.sequence;
  const int64_t row = s.q_begin + unit.begin;
  const int64_t position = s.kv_len - s.q_len + unit.begin;
  std::vector<QueryBlock<T>> blocks;
  for (int64_t h = head; h < head + group; ++h) {
    const int64_t at = (row * shape.heads + h) * d;
    blocks.push_back({q + at, out + at, shape.heads * d, unit.count, position,
                      lse + row * shape.heads + h, shape.heads,
                      shape.sinks == nullptr ? nullptr : shape.sinks + h});
  }
  run_blocks(shape, s, unit.kv_head, blocks);
}

}  // namespace

template <class T>
void attention_forward(const AttentionShape<T>& shape,
                       std::span<const AttentionSequence<T>> sequences, const T* q, T* out,
                       T* lse) {
  std::vector<Unit<T>> units;
  std::vector<const AttentionSequence<T>*> singles;
  for (const auto& s : sequences) {
    if (s.q_len == 1 && s.kv_len > 0) {
      singles.push_back(&s);
      continue;
    }
    for (int64_t begin = 0; begin < s.q_len; begin += kQueryTile) {
      for (int64_t h = 0; h < shape.kv_heads; ++h) {
        units.push_back({&s, h, begin, std::min(kQueryTile, s.q_len - begin)});
      }
    }
  }
  deal(static_cast<int64_t>(units.size()),
       [&](int64_t unit) { run_unit(shape, units[static_cast<size_t>(unit)], q, out, lse); });
  attend_single<T>(shape, singles, q, out, lse);
}

template void attention_forward(const AttentionShape<float>&,
                                std::span<const AttentionSequence<float>>, const float*, float*,
                                float*);
template void attention_forward(const AttentionShape<double>&,
                                std::span<const AttentionSequence<double>>, const double*, double*,
                                double*);

}  // namespace moxie::kernels
