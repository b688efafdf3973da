#include <algorithm>
#include <utility>
#include <vector>

#include "kernels/attention_softmax.h"
#include "kernels/attention_tiles.h"
#include "kernels/fused_bf16.h"
#include "kernels/gemm_parts.h"
#include "kernels/micro_tiles.h"
#include "kernels/rowwise.h"
#include "kernels/scratch.h"
#include "tensor/tensor.h"

// Attention of many rows in bf16: bands of 32 queries against tiles of keys. micro_tiles.h says how
// operands lie.
namespace moxie::kernels {
namespace {

constexpr int64_t kBand = kBandLines;
constexpr int64_t kQueries = 3 * kBand;  // of a head that a unit takes
constexpr int64_t kKeyTile = 8 * kBand;  // scores of a band: 32 KiB

// The key heads of a sequence in bands of B: of 32 keys along d for the scores, and of 32 columns
// of values along the keys.
struct PackedKeys {
  const AttentionSequence<float>* sequence;
  KeyRange seen;  // by any query
  int64_t d;
  BFloat16* memory = nullptr;

  int64_t bands() const { return ceil_div(seen.end - seen.begin, kBand); }
  int64_t depth() const { return ceil_div(d, kTileDepth); }
  int64_t head_size() const { return 2 * bands() * depth() * kTilePair; }
  BFloat16* keys(int64_t kv_head, int64_t band) const {
    return memory + kv_head * head_size() + band * depth() * kTilePair;
  }
  // The band of columns 32 `column` on, from the keys of `band` on.
  BFloat16* values(int64_t kv_head, int64_t column, int64_t band) const {
    return memory + kv_head * head_size() +
           (bands() * depth() + column * bands() + band) * kTilePair;
  }
};

Tensor pack(const AttentionShape<float>& shape, std::vector<PackedKeys>& list) {
  struct Job {
    const PackedKeys* keys;
    int64_t kv_head, band;
    int64_t cost = 1;
  };
  int64_t size = 0;
  for (const PackedKeys& keys : list) size += shape.kv_heads * keys.head_size();
  Tensor memory = Tensor::empty({size}, DType::kBF16);
  auto* free = memory.data<BFloat16>();
  std::vector<Job> jobs;
  for (PackedKeys& keys : list) {
    keys.memory = free;
    free += shape.kv_heads * keys.head_size();
    for (int64_t h = 0; h < shape.kv_heads; ++h) {
      for (int64_t band = 0; band < keys.bands(); ++band) jobs.push_back({&keys, h, band});
    }
  }
  const MicroTiles& kernel = micro_bf16();
  const int64_t d = shape.head_dim;
  const int64_t stride = shape.kv_heads * d;
  deal<Job>(jobs, [&](const Job& job) {
    const PackedKeys& keys = *job.keys;
    const int64_t begin = keys.seen.begin + job.band * kBand;
    const int64_t count = std::min(kBand, keys.seen.end - begin);
    const int64_t at = begin * stride + job.kv_head * d;
    const PlainRows<float> k = plain_rows(keys.sequence->k, at, stride, count, d);
    kernel.along(k.data, k.stride, count, d, Side::kB, keys.keys(job.kv_head, job.band));
    const PlainRows<float> v = plain_rows(keys.sequence->v, at, stride, count, d);
    for (int64_t c = 0; c < keys.depth(); ++c) {
      kernel.across(v.data + c * kBand, v.stride, std::min(kBand, d - c * kBand), count, Side::kB,
                    keys.values(job.kv_head, c, job.band));
    }
  });
  return memory;
}

// Queries [begin, begin + count) of a sequence and the query heads of one key head.
struct Unit {
  const PackedKeys* keys;
  int64_t kv_head, begin, count;
  int64_t cost;  // pairs of a query and a key
};

// Up to 32 queries of a head: q in bands of A along d, times the scale. What is summed up for them
// stands end to end until it is whole.
struct QueryBand {
  QueryBlock<float> block;
  BFloat16* packed;
  float* out;
};

struct Memory {       // of a unit
  float* scores;      // [32, kKeyTile]
  BFloat16* weights;  // the same as a band of A
};

// A band against keys [j0, j1) of its key head, counted from the first that any query sees.
void attend(const AttentionShape<float>& shape, const Unit& unit, const QueryBand& band, int64_t j0,
            int64_t j1, const Memory& memory) {
  const MicroTiles& kernel = micro_bf16();
  const PackedKeys& keys = *unit.keys;
  const QueryBlock<float>& block = band.block;
  const auto seen_by = [&](int64_t first, int64_t last) {
    return visible_in(shape, block.position + first, block.position + last, keys.sequence->kv_len,
                      keys.seen.begin + j0, keys.seen.begin + j1);
  };
  const KeyRange seen = seen_by(0, block.count - 1);
  if (seen.begin == seen.end) return;
  const int64_t from = seen.begin / kBand * kBand;
  const int64_t to = round_up(seen.end, kBand);
  const int64_t rows = block.count;
  for (int64_t j = from; j < to; j += kBand) {
    const int64_t cols = std::min(kBand, j1 - j0 - j);
    kernel.multiply({rows, cols, keys.depth(), band.packed,
                     keys.keys(unit.kv_head, (j0 + j) / kBand), memory.scores + j, kKeyTile, 1,
                     false});
  }
  for (int64_t r = 0; r < block.count; ++r) {
    mask(shape, seen_by(r, r), from, to, memory.scores + r * kKeyTile);
  }
  float shrink[kBand];
  fused_attention().soften(memory.scores + from, kKeyTile, block.count, to - from, block.most,
                           block.total, shrink, memory.weights);
  shrink_rows(block, 0, block.count, shrink, shape.head_dim);
  for (int64_t c = 0; c < keys.depth(); ++c) {
    const int64_t cols = std::min(kBand, shape.head_dim - c * kBand);
    kernel.multiply({rows, cols, (to - from) / kTileDepth, memory.weights,
                     keys.values(unit.kv_head, c, (j0 + from) / kBand), block.out + c * kBand,
                     block.stride, 1, true});
  }
}

void run_unit(const AttentionShape<float>& shape, const Unit& unit, const float* q, float* out,
              float* lse) {
  const MicroTiles& kernel = micro_bf16();
  const TileScope scope;
  const int64_t d = shape.head_dim;
  const PackedKeys& keys = *unit.keys;
  const AttentionSequence<float>& s = *keys.sequence;
  const int64_t group = shape.heads / shape.kv_heads;
  const int64_t count = group * ceil_div(unit.count, kBand);
  const int64_t packed_size = keys.depth() * kTilePair;
  const int64_t stride = shape.heads * d;  // between rows of q and of out
  const int64_t floats =
      kBand * kKeyTile * 3 / 2 + kBand * d + count * (kBand * (d + 2) + packed_size / 2);
  float* free = scratch(Scratch::kTiles, static_cast<size_t>(floats));
  const auto take = [&free](int64_t size) { return std::exchange(free, free + size); };
  const Memory memory{take(kBand * kKeyTile),
                      reinterpret_cast<BFloat16*>(take(kBand * kKeyTile / 2))};
  float* scaled = take(kBand * d);
  std::vector<QueryBand> bands;
  for (int64_t h = unit.kv_head * group; h < (unit.kv_head + 1) * group; ++h) {
    for (int64_t i = unit.begin; i < unit.begin + unit.count; i += kBand) {
      const int64_t rows = std::min(kBand, unit.begin + unit.count - i);
      const int64_t row = s.q_begin + i;
      const int64_t at = (row * shape.heads + h) * d;
      bands.push_back(
          {{q + at, take(kBand * d), d, rows, s.kv_len - s.q_len + i, lse + row * shape.heads + h,
            shape.heads, shape.sinks == nullptr ? nullptr : shape.sinks + h, take(kBand),
            take(kBand)},
           reinterpret_cast<BFloat16*>(take(packed_size / 2)),
           out + at});
      const QueryBand& band = bands.back();
      start(band.block, d);
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t c = 0; c < d; ++c) {
          scaled[r * d + c] = shape.scale * band.block.q[r * stride + c];
        }
      }
      kernel.along(scaled, d, rows, d, Side::kA, band.packed);
    }
  }
  for (int64_t j0 = 0; j0 < keys.seen.end - keys.seen.begin; j0 += kKeyTile) {
    const int64_t j1 = std::min(keys.seen.end - keys.seen.begin, j0 + kKeyTile);
    for (const QueryBand& band : bands) attend(shape, unit, band, j0, j1, memory);
  }
  for (const QueryBand& band : bands) {
    finish(band.block, d);
    for (int64_t r = 0; r < band.block.count; ++r)
      std::copy_n(band.block.out + r * d, d, band.out + r * stride);
  }
}

}  // namespace

void attend_bf16(const AttentionShape<float>& shape,
                 std::span<const AttentionSequence<float>* const> sequences, const float* q,
                 float* out, float* lse) {
  std::vector<PackedKeys> keys;
  for (const AttentionSequence<float>* s : sequences) {
    const int64_t begin = visible_keys(shape, s->kv_len - s->q_len, s->kv_len).begin;
    const int64_t end = visible_keys(shape, s->kv_len - 1, s->kv_len).end;
    keys.push_back({s, {begin, end}, shape.head_dim});
  }
  if (keys.empty()) return;
  const Tensor memory = pack(shape, keys);
  std::vector<Unit> units;
  for (const PackedKeys& own : keys) {
    const auto& s = *own.sequence;
    for (int64_t begin = 0; begin < s.q_len; begin += kQueries) {
      const int64_t count = std::min(kQueries, s.q_len - begin);
      const KeyRange half = visible_keys(shape, s.kv_len - s.q_len + begin + count / 2, s.kv_len);
      for (int64_t h = 0; h < shape.kv_heads; ++h) {
        units.push_back({&own, h, begin, count, count * (half.end - half.begin)});
      }
    }
  }
  deal<Unit>(units, [&](const Unit& unit) { run_unit(shape, unit, q, out, lse); });
}

}  // namespace moxie::kernels
