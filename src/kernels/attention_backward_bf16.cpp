#include <algorithm>
#include <utility>

#include "kernels/attention_backward.h"
#include "kernels/fused_bf16.h"
#include "kernels/gemm_parts.h"
#include "kernels/micro_tiles.h"
#include "kernels/rowwise.h"
#include "kernels/scratch.h"

// The gradients of attention in bf16: attention_backward.cpp says what they are. Tiles of 96
// queries and 128 keys in bands of 32; p and ds are rounded as they are packed. They and what they
// weigh may be rounded to 8-bit integers instead: q_down, dout_down and k_down. Not so what scores
// and their gradients are made of, which passes through exponentials and differences (Zhang et al.,
// 2025, "SageAttention3", keeps dO V^T in 16 bits for that).
namespace moxie::kernels {
namespace {

constexpr int64_t kBand = kBandLines;
constexpr int64_t kQueryTile = kGradientQueries;
constexpr int64_t kQueryBands = kQueryTile / kBand;
constexpr int64_t kKeyBands = 4;
constexpr int64_t kKeyTile = kKeyBands * kBand;

using Pass = GradientPass<float>;
using Unit = GradientUnit<float>;

// What the sums of the gradients are made of: p, ds and what these weigh.
Tiles weighed_tiles(const AttentionShape<float>& shape) {
  return shape.arithmetic == Arithmetic::kTiles8 ? Tiles::kInt8 : Tiles::kBF16;
}

// A tile of queries of one head. As A along d; as A columns of d along the queries.
struct Queries {
  int64_t head, begin, end;
  BFloat16 *q, *dout;            // [bands, depth]: q times the scale
  BFloat16 *q_down, *dout_down;  // [depth, bands]

  int64_t bands() const { return ceil_div(end - begin, kBand); }
};

// A tile of keys. As B along d; and k times the scale as B, columns of d along the keys.
struct Keys {
  int64_t begin, end;
  BFloat16 *k, *v;   // [bands, depth]
  BFloat16* k_down;  // [depth, bands]
};

// Of a tile of queries and a tile of keys.
struct Weights {
  float *p, *ds;               // of a band of queries and one of keys: [32, 32]
  BFloat16* ds_along;          // the same as A, along the keys
  BFloat16 *p_down, *ds_down;  // B: bands of keys along the queries, [kKeyBands, kQueryBands]
};

class Memory {  // a thread's, given out piece by piece
 public:
  explicit Memory(int64_t floats) : free_(scratch(Scratch::kTiles, static_cast<size_t>(floats))) {}
  float* floats(int64_t count) { return std::exchange(free_, free_ + count); }
  BFloat16* numbers(int64_t count) { return reinterpret_cast<BFloat16*>(floats(count / 2)); }

 private:
  float* free_;
};

// Bands of `rows` rows of d columns, rows `ld` apart, times a factor.
void pack(const float* src, int64_t ld, int64_t rows, int64_t d, float factor, Side side,
          float* scaled, BFloat16* along, BFloat16* down, Tiles down_tiles) {
  const int64_t depth = ceil_div(d, kTileDepth);
  const int64_t bands = ceil_div(rows, kBand);
  for (int64_t band = 0; band < bands; ++band, src += kBand * ld) {
    const int64_t lines = std::min(kBand, rows - band * kBand);
    const float* from = src;
    int64_t step = ld;
    if (factor != 1) {
      for (int64_t r = 0; r < lines; ++r) {
        for (int64_t c = 0; c < d; ++c) scaled[r * d + c] = factor * src[r * ld + c];
      }
      from = scaled;
      step = d;
    }
    if (along != nullptr) {
      micro_bf16().along(from, step, lines, d, side, along + band * depth * kTilePair);
    }
    for (int64_t c = 0; down != nullptr && c < depth; ++c) {
      micro_tiles(down_tiles)
          .across(from + c * kBand, step, std::min(kBand, d - c * kBand), lines, side,
                  down + (c * bands + band) * pair_size(down_tiles));
    }
  }
}

// What the gradients of a band of queries' scores depend on beside these.
struct BandRows {
  float lse[kBand], delta[kBand];
  int64_t begin[kBand], end[kBand];  // the keys that a query sees, counted in the tile
};

BandRows rows_of(const Pass& pass, const Queries& queries, int64_t i, int64_t rows,
                 const Keys& keys) {
  BandRows result;
  for (int64_t r = 0; r < rows; ++r) {
    const KeyRange own = visible_in(pass.shape, pass.position(i + r), pass.position(i + r),
                                    pass.s.kv_len, keys.begin, keys.end);
    const int64_t row = (i + r) * pass.shape.heads + queries.head;
    result.lse[r] = pass.lse[row];
    result.delta[r] = pass.delta[row];
    result.begin[r] = own.begin;
    result.end[r] = own.end;
  }
  return result;
}

// score_gradients() of capped scores.
void capped_gradients(float softcap, const ScoreBand& t, float* p, float* ds, Tiles kind,
                      const ScoreTiles& tiles) {
  for (int64_t r = 0; r < t.rows; ++r) {
    const int64_t begin = std::clamp<int64_t>(t.begin[r] - t.first, 0, t.n);
    const int64_t end = std::clamp<int64_t>(t.end[r] - t.first, begin, t.n);
    for (float* values : {p + r * t.stride, ds + r * t.stride}) {
      std::fill(values, values + begin, 0.0f);
      std::fill(values + end, values + t.n, 0.0f);
    }
    row_kernels<float>().score_gradient(t.lse[r], t.delta[r], softcap, p + r * t.stride + begin,
                                        ds + r * t.stride + begin, end - begin);
  }
  const MicroTiles& kernel = micro_tiles(kind);
  kernel.along(ds, t.stride, t.rows, t.n, Side::kA, tiles.ds);
  kernel.across(p, t.stride, t.n, t.rows, Side::kB, tiles.p_down);
  kernel.across(ds, t.stride, t.n, t.rows, Side::kB, tiles.ds_down);
}

// p and ds of a band of queries, packed, and what they add to dq. Returns which keys they see.
KeyRange query_gradients(const Pass& pass, const Queries& queries, int64_t band, const Keys& keys,
                         const Weights& w) {
  const auto& shape = pass.shape;
  const Tiles kind = weighed_tiles(shape);
  const int64_t d = shape.head_dim;
  const int64_t depth = ceil_div(d, kTileDepth);
  const int64_t i = queries.begin + band * kBand;
  const int64_t rows = std::min(kBand, queries.end - i);
  const int64_t count = keys.end - keys.begin;
  const int64_t key_bands = ceil_div(count, kBand);
  const KeyRange seen = visible_in(shape, pass.position(i), pass.position(i + rows - 1),
                                   pass.s.kv_len, keys.begin, keys.end);
  if (seen.begin == seen.end) return seen;
  const int64_t from = seen.begin / kBand * kBand;
  const int64_t to = round_up(seen.end, kBand);
  const BandRows own = rows_of(pass, queries, i, rows, keys);
  const int64_t a = band * depth * kTilePair;
  for (int64_t j = from; j < to; j += kBand) {  // 32 x 32 scores at a time, in L1
    const int64_t cols = std::min(kBand, count - j);
    const int64_t b = j / kBand * depth * kTilePair;
    const MicroTiles& kernel = micro_bf16();
    kernel.multiply({rows, cols, depth, queries.q + a, keys.k + b, w.p, kBand, 1, false});
    kernel.multiply({rows, cols, depth, queries.dout + a, keys.v + b, w.ds, kBand, 1, false});
    const ScoreBand scores{w.p, w.ds,    kBand,     rows,      kBand,
                           j,   own.lse, own.delta, own.begin, own.end};
    const int64_t at = (j / kBand * kQueryBands + band) * pair_size(kind);
    const ScoreTiles tiles{w.ds_along + (j - from) / kBand * pair_size(kind), w.p_down + at,
                           w.ds_down + at, 0};
    if (shape.softcap > 0) {
      capped_gradients(shape.softcap, scores, w.p, w.ds, kind, tiles);
    } else {
      fused(kind).score_gradients(scores, tiles);
    }
  }
  const BFloat16* k = keys.k_down + from / kBand * pair_size(kind);
  float* dq = pass.dq + i * pass.stride + queries.head * d;
  for (int64_t c = 0; c < d; c += kBand, k += key_bands * pair_size(kind)) {
    micro_tiles(kind).multiply({rows, std::min(kBand, d - c), (to - from) / kTileDepth, w.ds_along,
                                k, dq + c, pass.stride, 1, true});
  }
  return {from, to};
}

// A tile of queries against a tile of keys; dk and dv, [d, kKeyTile], are those of its keys,
// turned: so p and ds are B, where two queries' numbers stand side by side, as they are made.
void run_tile(const Pass& pass, const Queries& queries, const Keys& keys, const Weights& w,
              float* dk, float* dv) {
  const int64_t d = pass.shape.head_dim;
  const Tiles kind = weighed_tiles(pass.shape);
  const int64_t count = keys.end - keys.begin;
  int64_t first[kKeyBands], last[kKeyBands];  // bands of queries that see a band of keys
  std::fill_n(first, kKeyBands, kQueryBands);
  std::fill_n(last, kKeyBands, 0);
  for (int64_t band = 0; band < queries.bands(); ++band) {
    const KeyRange seen = query_gradients(pass, queries, band, keys, w);
    for (int64_t j = seen.begin / kBand; j < seen.end / kBand; ++j) {
      first[j] = std::min(first[j], band);
      last[j] = band + 1;
    }
  }
  for (int64_t j = 0; j * kBand < count; ++j) {
    if (first[j] >= last[j]) continue;
    const int64_t cols = std::min(kBand, count - j * kBand);
    const int64_t b = (j * kQueryBands + first[j]) * pair_size(kind);
    for (int64_t c = 0; c < d; c += kBand) {
      const int64_t rows = std::min(kBand, d - c);
      const int64_t a = (c / kBand * queries.bands() + first[j]) * pair_size(kind);
      const int64_t at = c * kKeyTile + j * kBand;
      const auto add = [&](const BFloat16* left, const BFloat16* right, float* sums) {
        micro_tiles(kind).multiply(
            {rows, cols, last[j] - first[j], left + a, right + b, sums + at, kKeyTile, 1, true});
      };
      add(queries.dout_down, w.p_down, dv);
      add(queries.q_down, w.ds_down, dk);
    }
  }
}

// The tile of keys from j on.
void pack_keys(const Pass& pass, const Unit& unit, int64_t j, float* scaled, Keys& keys) {
  const int64_t d = pass.shape.head_dim;
  const int64_t at = j * pass.kv_stride + unit.kv_head * d;
  keys.begin = j;
  keys.end = std::min(unit.keys.end, j + kKeyTile);
  const int64_t rows = keys.end - j;
  const Tiles tiles = weighed_tiles(pass.shape);
  pack(pass.s.k.plain + at, pass.kv_stride, rows, d, 1, Side::kB, scaled, keys.k, nullptr, tiles);
  pack(pass.s.v.plain + at, pass.kv_stride, rows, d, 1, Side::kB, scaled, keys.v, nullptr, tiles);
  pack(pass.s.k.plain + at, pass.kv_stride, rows, d, pass.shape.scale, Side::kB, scaled, nullptr,
       keys.k_down, tiles);
}

}  // namespace

void gradients_bf16(const Pass& pass, const Unit& unit) {
  const TileScope scope;
  const auto& shape = pass.shape;
  const int64_t d = shape.head_dim;
  const int64_t depth = ceil_div(d, kTileDepth);
  const int64_t group = shape.heads / shape.kv_heads;
  const int64_t tiles = ceil_div(unit.end - unit.begin, kQueryTile);
  const int64_t queries_size = kQueryBands * depth * kTilePair;
  const int64_t keys_size = kKeyBands * depth * kTilePair;
  const int64_t weights_size = kKeyBands * kQueryBands * kTilePair;
  Memory memory((group * tiles * 4 * queries_size + 3 * keys_size + 2 * weights_size +
                 kKeyBands * kTilePair) /
                    2 +
                2 * (kBand * kBand + d * kKeyTile) + kBand * d);
  float* dk = memory.floats(d * kKeyTile);
  float* dv = memory.floats(d * kKeyTile);
  float* scaled = memory.floats(kBand * d);
  Weights weights{};
  weights.p = memory.floats(kBand * kBand);
  weights.ds = memory.floats(kBand * kBand);
  weights.ds_along = memory.numbers(kKeyBands * kTilePair);
  weights.p_down = memory.numbers(weights_size);
  weights.ds_down = memory.numbers(weights_size);
  Keys keys{};
  keys.k = memory.numbers(keys_size);
  keys.v = memory.numbers(keys_size);
  keys.k_down = memory.numbers(keys_size);
  BFloat16* packed = memory.numbers(group * tiles * 4 * queries_size);
  const auto for_queries = [&](const auto& body) {
    BFloat16* at = packed;
    for (int64_t h = unit.kv_head * group; h < (unit.kv_head + 1) * group; ++h) {
      for (int64_t i = unit.begin; i < unit.end; i += kQueryTile, at += 4 * queries_size) {
        body(Queries{h, i, std::min(unit.end, i + kQueryTile), at, at + queries_size,
                     at + 2 * queries_size, at + 3 * queries_size});
      }
    }
  };
  for_queries([&](const Queries& own) {
    const int64_t at = own.begin * pass.stride + own.head * d;
    const int64_t rows = own.end - own.begin;
    pack(pass.q + at, pass.stride, rows, d, shape.scale, Side::kA, scaled, own.q, own.q_down,
         weighed_tiles(shape));
    pack(pass.dout + at, pass.stride, rows, d, 1, Side::kA, scaled, own.dout, own.dout_down,
         weighed_tiles(shape));
    for (int64_t r = 0; r < rows; ++r) std::fill_n(pass.dq + at + r * pass.stride, d, 0.0f);
  });
  for (int64_t j = unit.keys.begin; j < unit.keys.end; j += kKeyTile) {
    pack_keys(pass, unit, j, scaled, keys);
    for (float* sums : {dk, dv}) std::fill_n(sums, d * kKeyTile, 0.0f);
    for_queries([&](const Queries& own) {
      const KeyRange seen = visible_in(shape, pass.position(own.begin), pass.position(own.end - 1),
                                       pass.s.kv_len, keys.begin, keys.end);
      if (seen.begin < seen.end) run_tile(pass, own, keys, weights, dk, dv);
    });
    const int64_t rows = keys.end - j;
    fused_attention().transpose(dk, kKeyTile, rows, d, unit.dk + (j - unit.keys.begin) * d);
    fused_attention().transpose(dv, kKeyTile, rows, d, unit.dv + (j - unit.keys.begin) * d);
  }
}

}  // namespace moxie::kernels
