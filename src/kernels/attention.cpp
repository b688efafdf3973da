#include "kernels/attention.h"

#include <limits>
#include <vector>

#include "kernels/attention_softmax.h"
#include "kernels/attention_tiles.h"
#include "kernels/rowwise.h"
#include "kernels/tile_ops.h"
#include "tensor/tensor.h"

namespace moxie::kernels {
namespace {

constexpr int64_t kQueryTile = 96;
constexpr int64_t kMostKeys = 384;            // of a tile
constexpr int64_t kTileElements = 24 * 1024;  // of its keys; with as many of its values part of L2
constexpr int64_t kMostRows = 16;             // of a register tile

// Keys [begin, end) of a key head, packed: columns of d, and rows of values.
template <class Tiles>
struct KeyTile {
  int64_t begin, end;
  typename Tiles::Number *keys, *values;
};

// The key heads of a sequence, packed in tiles, each for all the queries that see it.
template <class Tiles>
struct PackedKeys {
  using T = typename Tiles::Number;
  const AttentionSequence<T>* sequence;
  KeyRange seen;  // by any query
  int64_t step;   // keys of a tile
  int64_t d;
  T* memory = nullptr;

  int64_t tiles() const { return (seen.end - seen.begin + step - 1) / step; }
  int64_t tile_size() const { return Tiles::right_size(d, step) + Tiles::right_size(step, d); }
  KeyTile<Tiles> tile(int64_t kv_head, int64_t index) const {
    T* keys = memory + (kv_head * tiles() + index) * tile_size();
    const int64_t begin = seen.begin + index * step;
    return {begin, std::min(seen.end, begin + step), keys, keys + Tiles::right_size(d, step)};
  }
};

// What a unit has of its own: scores of a strip and, where products round them, these.
template <class T>
struct Memory {
  T *scores, *rounded;
};

// Rows [i, i + count) of a block, which a register tile holds, against a tile of keys.
template <class Tiles, class T = typename Tiles::Number>
void attend(const AttentionShape<T>& shape, int64_t kv_len, const QueryBlock<T>& block,
            const typename Tiles::Left& q, int64_t i, int64_t count, const KeyTile<Tiles>& tile,
            const Memory<T>& memory) {
  const int64_t d = shape.head_dim;
  const int64_t width = Tiles::width();
  const int64_t keys = tile.end - tile.begin;
  const auto seen_by = [&](int64_t first, int64_t last) {
    return visible_in(shape, block.position + first, block.position + last, kv_len, tile.begin,
                      tile.end);
  };
  const KeyRange seen = seen_by(i, i + count - 1);
  if (seen.begin == seen.end) return;
  const int64_t from = seen.begin / width * width;  // whole panels: scores hold their padding
  const int64_t to = (seen.end + width - 1) / width * width;
  T* out = block.out + i * block.stride;
  Tiles::multiply(count, to - from, d, q.from(i, 0), Tiles::right(d, keys, tile.keys).from(0, from),
                  memory.scores + from, kMostKeys, shape.scale, false);
  for (int64_t r = 0; r < count; ++r) {
    mask(shape, seen_by(i + r, i + r), from, to, memory.scores + r * kMostKeys);
  }
  T shrink[kMostRows];
  row_kernels<T>().soften(memory.scores + from, kMostKeys, count, to - from, block.most + i,
                          block.total + i, shrink);
  shrink_rows(block, i, count, shrink, d);
  const int64_t seen_keys = seen.end - from;
  const auto weights =
      Tiles::scores_of(count, seen_keys, memory.scores + from, kMostKeys, memory.rounded);
  Tiles::multiply(count, d, seen_keys, weights, Tiles::right(keys, d, tile.values).from(from, 0),
                  out, block.stride, T{1}, true);
}

// Queries [begin, begin + count) of a sequence and the query heads of one key head.
template <class Tiles>
struct Unit {
  const PackedKeys<Tiles>* keys;
  int64_t kv_head, begin, count;
  int64_t cost;  // pairs of a query and a key
};

template <class Tiles, class T = typename Tiles::Number>
Unit<Tiles> unit_of(const AttentionShape<T>& shape, const PackedKeys<Tiles>& keys, int64_t kv_head,
                    int64_t begin) {
  const auto& s = *keys.sequence;
  const int64_t count = std::min(kQueryTile, s.q_len - begin);
  const KeyRange half = visible_keys(shape, s.kv_len - s.q_len + begin + count / 2, s.kv_len);
  return {&keys, kv_head, begin, count, count * (half.end - half.begin)};
}

template <class Tiles, class T = typename Tiles::Number>
std::vector<QueryBlock<T>> blocks_of(const AttentionShape<T>& shape, const Unit<Tiles>& unit,
                                     const T* q, T* out, T* lse, T* states) {
  const int64_t d = shape.head_dim;
  const int64_t group = shape.heads / shape.kv_heads;
  const AttentionSequence<T>& s = *unit.keys->sequence;
  const int64_t row = s.q_begin + unit.begin;
  const int64_t position = s.kv_len - s.q_len + unit.begin;
  std::vector<QueryBlock<T>> blocks;
  for (int64_t h = unit.kv_head * group; h < (unit.kv_head + 1) * group; ++h) {
    const int64_t at = (row * shape.heads + h) * d;
    blocks.push_back({q + at, out + at, shape.heads * d, unit.count, position,
                      lse + row * shape.heads + h, shape.heads,
                      shape.sinks == nullptr ? nullptr : shape.sinks + h, states,
                      states + kQueryTile});
    states += 2 * kQueryTile;
  }
  return blocks;
}

template <class Tiles, class T = typename Tiles::Number>
void run_unit(const AttentionShape<T>& shape, const Unit<Tiles>& unit, const T* q, T* out, T* lse) {
  const int64_t d = shape.head_dim;
  const int64_t group = shape.heads / shape.kv_heads;
  const PackedKeys<Tiles>& keys = *unit.keys;
  const int64_t kv_len = keys.sequence->kv_len;
  const int64_t scores = kMostRows * kMostKeys;
  const int64_t rounded = Tiles::left_size(kMostRows, kMostKeys);
  const int64_t queries = Tiles::left_size(unit.count, d);
  T* own =
      TileOps<T>::memory(Scratch::kTiles, scores + rounded + group * (2 * kQueryTile + queries));
  const Memory<T> memory{own, own + scores};
  own += scores + rounded;
  const auto blocks = blocks_of(shape, unit, q, out, lse, own);
  own += group * 2 * kQueryTile;
  std::vector<typename Tiles::Left> lefts;
  for (const auto& block : blocks) {
    start(block, d);
    lefts.push_back(Tiles::rows_of(unit.count, d, block.q, block.stride, own));
    own += queries;
  }
  for (int64_t index = 0; index < keys.tiles(); ++index) {
    const KeyTile<Tiles> tile = keys.tile(unit.kv_head, index);
    const int64_t position = blocks[0].position;
    const KeyRange seen =
        visible_in(shape, position, position + unit.count - 1, kv_len, tile.begin, tile.end);
    if (seen.begin == seen.end) continue;
    for (size_t b = 0; b < blocks.size(); ++b) {
      for_strips<Tiles>(unit.count, [&](int64_t i, int64_t count) {
        attend<Tiles>(shape, kv_len, blocks[b], lefts[b], i, count, tile, memory);
      });
    }
  }
  for (const auto& block : blocks) finish(block, d);
}

template <class Tiles, class T = typename Tiles::Number>
PackedKeys<Tiles> keys_of(const AttentionShape<T>& shape, const AttentionSequence<T>& s) {
  const int64_t d = shape.head_dim;
  const int64_t begin = visible_keys(shape, s.kv_len - s.q_len, s.kv_len).begin;
  const int64_t end = visible_keys(shape, s.kv_len - 1, s.kv_len).end;
  const int64_t step = std::clamp(kTileElements / d / 32 * 32, int64_t{64}, kMostKeys);
  return {&s, {begin, end}, step, d};
}

// Packs every tile of every key head, each on one thread.
template <class Tiles, class T = typename Tiles::Number>
Tensor pack(const AttentionShape<T>& shape, std::vector<PackedKeys<Tiles>>& list) {
  struct Job {
    const PackedKeys<Tiles>* keys;
    int64_t kv_head, index;
    int64_t cost = 1;
  };
  if (list.empty()) return {};
  int64_t size = 0;
  for (const auto& keys : list) size += shape.kv_heads * keys.tiles() * keys.tile_size();
  Tensor memory = Tensor::empty({size}, DTypeOf<T>::value);
  T* free = memory.data<T>();
  std::vector<Job> jobs;
  for (auto& keys : list) {
    keys.memory = free;
    free += shape.kv_heads * keys.tiles() * keys.tile_size();
    for (int64_t at = 0; at < shape.kv_heads * keys.tiles(); ++at) {
      jobs.push_back({&keys, at / keys.tiles(), at % keys.tiles()});
    }
  }
  const int64_t d = shape.head_dim;
  const int64_t stride = shape.kv_heads * d;
  deal<Job>(jobs, [&](const Job& job) {
    const KeyTile<Tiles> tile = job.keys->tile(job.kv_head, job.index);
    const int64_t count = tile.end - tile.begin;
    const int64_t at = tile.begin * stride + job.kv_head * d;
    const AttentionSequence<T>& s = *job.keys->sequence;
    const PlainRows<T> keys = plain_rows(s.k, at, stride, count, d);
    Tiles::pack_transposed(d, count, keys.data, keys.stride, tile.keys);
    const PlainRows<T> values = plain_rows(s.v, at, stride, count, d);
    Tiles::pack_rows(count, d, values.data, values.stride, tile.values);
  });
  return memory;
}

template <class Tiles, class T = typename Tiles::Number>
void attend_many(const AttentionShape<T>& shape,
                 const std::vector<const AttentionSequence<T>*>& sequences, const T* q, T* out,
                 T* lse) {
  std::vector<PackedKeys<Tiles>> keys;
  for (const AttentionSequence<T>* s : sequences) keys.push_back(keys_of<Tiles>(shape, *s));
  const Tensor memory = pack<Tiles>(shape, keys);
  std::vector<Unit<Tiles>> units;
  for (const auto& own : keys) {
    for (int64_t begin = 0; begin < own.sequence->q_len; begin += kQueryTile) {
      for (int64_t h = 0; h < shape.kv_heads; ++h) {
        units.push_back(unit_of<Tiles>(shape, own, h, begin));
      }
    }
  }
  deal<Unit<Tiles>>(units,
                    [&](const Unit<Tiles>& unit) { run_unit<Tiles>(shape, unit, q, out, lse); });
}

}  // namespace

template <class T>
void attention_forward(const AttentionShape<T>& shape,
                       std::span<const AttentionSequence<T>> sequences, const T* q, T* out,
                       T* lse) {
  std::vector<const AttentionSequence<T>*> many, singles;
  for (const auto& s : sequences) (s.q_len == 1 && s.kv_len > 0 ? singles : many).push_back(&s);
  attend_single<T>(shape, singles, q, out, lse);
  if (many.empty()) return;
  if constexpr (std::is_same_v<T, float>) {
    if (rounds_to_bf16(shape.arithmetic)) return attend_bf16(shape, many, q, out, lse);
    if (runs_int16(shape)) return attend_many<Int16Tiles>(shape, many, q, out, lse);
  }
  attend_many<PlainTiles<T>>(shape, many, q, out, lse);
}

template void attention_forward(const AttentionShape<float>&,
                                std::span<const AttentionSequence<float>>, const float*, float*,
                                float*);
template void attention_forward(const AttentionShape<double>&,
                                std::span<const AttentionSequence<double>>, const double*, double*,
                                double*);

}  // namespace moxie::kernels
