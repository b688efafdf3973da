#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "kernels/attention.h"
#include "kernels/attention_backward.h"
#include "kernels/attention_tiles.h"
#include "kernels/rowwise.h"
#include "kernels/tile_ops.h"
#include "tensor/tensor.h"

// dv_j = sum_i p_ij do_i;   ds_ij = p_ij (do_i . v_j - do_i . out_i) cap'(s_ij) scale
// dq_i = sum_j ds_ij k_j;   dk_j = sum_i ds_ij q_i;   dsink_h = -sum_i exp(sink_h - lse_i) do_i .
// out_i
namespace moxie::kernels {
namespace {

constexpr int64_t kQueryTile = kGradientQueries;
constexpr int64_t kKeyTile = 96;
constexpr int64_t kMostSegments = 8;  // of a sequence: each has sums of its own for dk and dv

// What a unit packs: of its queries, tile by tile of a head, the rows of q and dout as A and as B;
// of a tile of keys the columns of k and v and the rows of k; p and ds of a tile of both, and what
// these are rounded to.
template <class T>
struct Buffers {
  T *queries, *douts, *query_rows, *dout_rows, *keys, *values, *key_rows, *p, *ds, *rounded;
};

template <class Tiles, class T = typename Tiles::Number>
Buffers<T> buffers_for(int64_t d, int64_t query_tiles) {
  const int64_t left = query_tiles * Tiles::left_size(kQueryTile, d);
  const int64_t rows = query_tiles * Tiles::right_size(kQueryTile, d);
  const int64_t across = Tiles::right_size(d, kKeyTile);
  const int64_t along = Tiles::right_size(kKeyTile, d);
  const int64_t tile = kQueryTile * kKeyTile;
  const int64_t rounded = Tiles::left_size(kCols16, std::max(kQueryTile, kKeyTile));
  T* memory = TileOps<T>::memory(Scratch::kTiles,
                                 2 * left + 2 * rows + 2 * across + along + 2 * tile + rounded);
  Buffers<T> b{};
  const auto take = [&](T*& part, int64_t size) { part = std::exchange(memory, memory + size); };
  for (T** part : {&b.queries, &b.douts}) take(*part, left);
  for (T** part : {&b.query_rows, &b.dout_rows}) take(*part, rows);
  for (T** part : {&b.keys, &b.values}) take(*part, across);
  take(b.key_rows, along);
  for (T** part : {&b.p, &b.ds}) take(*part, tile);
  take(b.rounded, rounded);
  return b;
}

// A tile: queries [i0, i1) of a head against keys [j0, j1), and the sums that it adds to.
template <class Tiles>
struct Tile {
  using T = typename Tiles::Number;
  int64_t head, i0, i1, j0, j1;
  typename Tiles::Left queries, douts;
  typename Tiles::Right query_rows, dout_rows;
  T *dk, *dv;  // of key j0

  int64_t keys() const { return j1 - j0; }
};

// p and ds of queries [i, i + count), which a register tile holds, 0 where a key is not visible;
// and what they add to dq.
template <class Tiles, class T = typename Tiles::Number>
void query_gradients(const GradientPass<T>& pass, const Tile<Tiles>& tile, int64_t i, int64_t count,
                     const Buffers<T>& b) {
  const auto& shape = pass.shape;
  const int64_t d = shape.head_dim;
  const int64_t width = Tiles::width();
  const auto seen_by = [&](int64_t first, int64_t last) {
    return visible_in(shape, pass.position(first), pass.position(last), pass.s.kv_len, tile.j0,
                      tile.j1);
  };
  T* p = b.p + (i - tile.i0) * kKeyTile;
  T* ds = b.ds + (i - tile.i0) * kKeyTile;
  const KeyRange seen = seen_by(i, i + count - 1);
  const int64_t from = seen.begin / width * width;  // whole panels: p and ds hold their padding
  const int64_t columns = (seen.end - from + width - 1) / width * width;
  const auto project = [&](const typename Tiles::Left& rows, T* packed, T alpha, T* to) {
    Tiles::multiply(count, columns, d, rows.from(i - tile.i0, 0),
                    Tiles::right(d, tile.keys(), packed).from(0, from), to + from, kKeyTile, alpha,
                    false);
  };
  project(tile.queries, b.keys, shape.scale, p);
  project(tile.douts, b.values, T{1}, ds);
  for (int64_t r = 0; r < count; ++r) {
    const KeyRange keys = seen_by(i + r, i + r);
    const int64_t row = (i + r) * shape.heads + tile.head;
    T* p_row = p + r * kKeyTile;
    T* ds_row = ds + r * kKeyTile;
    for (T* own : {p_row, ds_row}) {
      std::fill(own, own + keys.begin, T{0});
      std::fill(own + keys.end, own + tile.keys(), T{0});
    }
    row_kernels<T>().score_gradient(pass.lse[row], pass.delta[row], shape.softcap,
                                    p_row + keys.begin, ds_row + keys.begin, keys.end - keys.begin);
  }
  if (seen.begin == seen.end) return;
  const int64_t seen_keys = seen.end - from;
  Tiles::multiply(count, d, seen_keys,
                  Tiles::scores_of(count, seen_keys, ds + from, kKeyTile, b.rounded),
                  Tiles::right(tile.keys(), d, b.key_rows).from(from, 0),
                  pass.dq + i * pass.stride + tile.head * d, pass.stride, shape.scale, true);
}

// What a tile adds to dk and dv of keys [j, j + count) counted from j0, which lie alike: only
// queries that see one of them.
template <class Tiles, class T = typename Tiles::Number>
void key_gradients(const GradientPass<T>& pass, const Tile<Tiles>& tile, int64_t j, int64_t count,
                   const Buffers<T>& b) {
  const auto& shape = pass.shape;
  const int64_t d = shape.head_dim;
  const int64_t rows = tile.i1 - tile.i0;
  const int64_t before = tile.j0 + j - pass.position(tile.i0);  // queries that stand before key j
  const auto queries_of = [&](int64_t first, int64_t number) {
    int64_t begin = 0;
    int64_t end = rows;
    if (shape.is_causal) begin = std::clamp(before + first, int64_t{0}, rows) / 2 * 2;
    if (shape.window > 0) {
      end = std::clamp(before + first + number - 1 + shape.window, begin, rows);
    }
    return KeyRange{begin, end};
  };
  const KeyRange all = queries_of(0, count);
  if (all.begin >= all.end) return;
  const auto add = [&](const T* weights, const typename Tiles::Right& packed, T* sums, T alpha) {
    const auto turned = Tiles::turned(count, all.end - all.begin,
                                      weights + all.begin * kKeyTile + j, kKeyTile, b.rounded);
    for_strips<Tiles>(count, [&](int64_t first, int64_t number) {
      const KeyRange own = queries_of(first, number);
      if (own.begin >= own.end) return;
      Tiles::multiply(number, d, own.end - own.begin, turned.from(first, own.begin - all.begin),
                      packed.from(own.begin, 0), sums + (j + first) * d, d, alpha, true);
    });
  };
  add(b.p, tile.dout_rows, tile.dv, T{1});
  add(b.ds, tile.query_rows, tile.dk, shape.scale);
}

// The tiles of a unit's queries, packed, and their dq cleared.
template <class Tiles, class T = typename Tiles::Number>
std::vector<Tile<Tiles>> tiles_of(const GradientPass<T>& pass, const GradientUnit<T>& unit,
                                  const Buffers<T>& b) {
  const int64_t d = pass.shape.head_dim;
  const int64_t group = pass.shape.heads / pass.shape.kv_heads;
  std::vector<Tile<Tiles>> tiles;
  for (int64_t head = unit.kv_head * group; head < (unit.kv_head + 1) * group; ++head) {
    for (int64_t i0 = unit.begin; i0 < unit.end; i0 += kQueryTile) {
      const int64_t i1 = std::min(unit.end, i0 + kQueryTile);
      const int64_t count = i1 - i0;
      const int64_t row = i0 * pass.stride + head * d;
      const auto index = static_cast<int64_t>(tiles.size());
      const int64_t left = index * Tiles::left_size(kQueryTile, d);
      const int64_t right = index * Tiles::right_size(kQueryTile, d);
      const T* q = pass.q + row;
      const T* dout = pass.dout + row;
      Tiles::pack_rows(count, d, q, pass.stride, b.query_rows + right);
      Tiles::pack_rows(count, d, dout, pass.stride, b.dout_rows + right);
      for (int64_t i = 0; i < count; ++i) std::fill_n(pass.dq + row + i * pass.stride, d, T{0});
      tiles.push_back({head, i0, i1, 0, 0,
                       Tiles::rows_of(count, d, q, pass.stride, b.queries + left),
                       Tiles::rows_of(count, d, dout, pass.stride, b.douts + left),
                       Tiles::right(count, d, b.query_rows + right),
                       Tiles::right(count, d, b.dout_rows + right), nullptr, nullptr});
    }
  }
  return tiles;
}

template <class Tiles, class T = typename Tiles::Number>
void run_unit(const GradientPass<T>& pass, const GradientUnit<T>& unit) {
  const auto& shape = pass.shape;
  const int64_t d = shape.head_dim;
  const int64_t group = shape.heads / shape.kv_heads;
  const Buffers<T> b = buffers_for<Tiles>(d, group * ceil_div(unit.end - unit.begin, kQueryTile));
  std::vector<Tile<Tiles>> tiles = tiles_of<Tiles>(pass, unit, b);
  for (int64_t j0 = unit.keys.begin; j0 < unit.keys.end; j0 += kKeyTile) {
    const int64_t j1 = std::min(unit.keys.end, j0 + kKeyTile);
    const int64_t column = j0 * pass.kv_stride + unit.kv_head * d;
    Tiles::pack_transposed(d, j1 - j0, pass.s.k.plain + column, pass.kv_stride, b.keys);
    Tiles::pack_transposed(d, j1 - j0, pass.s.v.plain + column, pass.kv_stride, b.values);
    Tiles::pack_rows(j1 - j0, d, pass.s.k.plain + column, pass.kv_stride, b.key_rows);
    T* dk = unit.dk + (j0 - unit.keys.begin) * d;
    T* dv = unit.dv + (j0 - unit.keys.begin) * d;
    for (T* sums : {dk, dv}) std::fill_n(sums, (j1 - j0) * d, T{0});
    for (Tile<Tiles>& tile : tiles) {
      const KeyRange seen = visible_in(shape, pass.position(tile.i0), pass.position(tile.i1 - 1),
                                       pass.s.kv_len, j0, j1);
      if (seen.begin == seen.end) continue;
      tile.j0 = j0;
      tile.j1 = j1;
      tile.dk = dk;
      tile.dv = dv;
      for_strips<Tiles>(tile.i1 - tile.i0, [&](int64_t i, int64_t count) {
        query_gradients<Tiles>(pass, tile, tile.i0 + i, count, b);
      });
      for (int64_t j = 0; j < j1 - j0; j += Tiles::kTurnedRows) {
        key_gradients<Tiles>(pass, tile, j, std::min(Tiles::kTurnedRows, j1 - j0 - j), b);
      }
    }
  }
}

template <class T>
struct Plan {
  std::vector<GradientUnit<T>> units;  // sequence by sequence
  std::vector<size_t> first;           // of each sequence, and an end
  Tensor memory;                       // of their sums
};

template <class T>
void add_units(const AttentionShape<T>& shape, const AttentionSequence<T>& s, size_t index,
               std::vector<GradientUnit<T>>& units) {
  const int64_t tiles = (s.q_len + kQueryTile - 1) / kQueryTile;
  const int64_t segments = std::min(tiles, kMostSegments);
  const int64_t position = s.kv_len - s.q_len;
  for (int64_t kv_head = 0; kv_head < shape.kv_heads; ++kv_head) {
    for (int64_t part = 0; part < segments; ++part) {
      const int64_t begin = tiles * part / segments * kQueryTile;
      const int64_t end = std::min(s.q_len, tiles * (part + 1) / segments * kQueryTile);
      const KeyRange first = visible_keys(shape, position + begin, s.kv_len);
      const KeyRange last = visible_keys(shape, position + end - 1, s.kv_len);
      const int64_t pairs = (end - begin) * (first.end - first.begin + last.end - last.begin) / 2;
      units.push_back({index, kv_head, begin, end, {first.begin, last.end}, pairs});
    }
  }
}

template <class T>
Plan<T> plan_units(const AttentionShape<T>& shape,
                   std::span<const AttentionSequence<T>> sequences) {
  Plan<T> plan;
  for (size_t i = 0; i < sequences.size(); ++i) {
    plan.first.push_back(plan.units.size());
    add_units(shape, sequences[i], i, plan.units);
  }
  plan.first.push_back(plan.units.size());
  const int64_t d = shape.head_dim;
  int64_t all = 0;
  for (const GradientUnit<T>& unit : plan.units) all += unit.keys.end - unit.keys.begin;
  plan.memory = Tensor::empty({2 * d * all}, DTypeOf<T>::value);
  T* free = plan.memory.template data<T>();
  for (GradientUnit<T>& unit : plan.units) {
    const int64_t size = d * (unit.keys.end - unit.keys.begin);
    unit.dk = free;
    unit.dv = free + size;
    free += 2 * size;
  }
  return plan;
}

// dk and dv of row j of a sequence: what its units found, in their order.
template <class T>
void sum_units(const AttentionShape<T>& shape, std::span<const GradientUnit<T>> units, int64_t j,
               T* dk, T* dv) {
  const int64_t d = shape.head_dim;
  const auto& rows = row_kernels<T>();
  std::fill_n(dk, shape.kv_heads * d, T{0});
  std::fill_n(dv, shape.kv_heads * d, T{0});
  for (const GradientUnit<T>& unit : units) {
    if (j < unit.keys.begin || j >= unit.keys.end) continue;
    const int64_t column = unit.kv_head * d;
    const int64_t at = (j - unit.keys.begin) * d;
    rows.add_scaled(unit.dk + at, T{1}, dk + column, d);
    rows.add_scaled(unit.dv + at, T{1}, dv + column, d);
  }
}

template <class T>
void sink_gradients(const AttentionShape<T>& shape, std::span<const AttentionSequence<T>> sequences,
                    const T* lse, const std::vector<T>& delta, T* dsinks) {
  for (int64_t h = 0; h < shape.heads; ++h) {
    double sum = 0;
    for (const auto& s : sequences) {
      for (int64_t i = s.q_begin; i < s.q_begin + s.q_len; ++i) {
        const int64_t at = i * shape.heads + h;
        sum -= static_cast<double>(std::exp(shape.sinks[h] - lse[at]) *
                                   delta[static_cast<size_t>(at)]);
      }
    }
    dsinks[h] += static_cast<T>(sum);
  }
}

}  // namespace

template <class T>
void attention_backward(const AttentionShape<T>& shape,
                        std::span<const AttentionSequence<T>> sequences, const T* q, const T* out,
                        const T* lse, const T* dout, const AttentionGradients<T>& gradients) {
  const int64_t d = shape.head_dim;
  const int64_t stride = shape.heads * d;
  const int64_t kv_stride = shape.kv_heads * d;
  int64_t rows = 0;
  std::vector<int64_t> kv_begin;  // of each sequence in dk and dv
  int64_t kv_rows = 0;
  for (const auto& s : sequences) {
    rows = std::max(rows, s.q_begin + s.q_len);
    kv_begin.push_back(kv_rows);
    kv_rows += s.kv_len;
  }
  std::vector<T> delta(static_cast<size_t>(rows * shape.heads));
  parallel_for(rows * shape.heads, 256, [&](int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end; ++at) {
      delta[static_cast<size_t>(at)] = row_kernels<T>().dot(dout + at * d, out + at * d, d);
    }
  });
  const Plan<T> plan = plan_units(shape, sequences);
  deal<GradientUnit<T>>(plan.units, [&](const GradientUnit<T>& unit) {
    const auto& s = sequences[unit.sequence];
    const int64_t row = s.q_begin;
    const GradientPass<T> pass{shape,
                               s,
                               q + row * stride,
                               dout + row * stride,
                               gradients.dq + row * stride,
                               lse + row * shape.heads,
                               delta.data() + row * shape.heads,
                               stride,
                               kv_stride};
    if constexpr (std::is_same_v<T, float>) {
      if (rounds_to_bf16(shape.arithmetic)) return gradients_bf16(pass, unit);
      if (runs_int16(shape)) return run_unit<Int16Tiles>(pass, unit);
    }
    run_unit<PlainTiles<T>>(pass, unit);
  });
  parallel_for(kv_rows, 64, [&](int64_t begin, int64_t end) {
    for (size_t i = 0; i < sequences.size(); ++i) {
      const auto own = std::span<const GradientUnit<T>>(plan.units)
                           .subspan(plan.first[i], plan.first[i + 1] - plan.first[i]);
      const int64_t last = std::min(end, kv_begin[i] + sequences[i].kv_len);
      for (int64_t row = std::max(begin, kv_begin[i]); row < last; ++row) {
        sum_units(shape, own, row - kv_begin[i], gradients.dk + row * kv_stride,
                  gradients.dv + row * kv_stride);
      }
    }
  });
  if (gradients.dsinks != nullptr) {
    sink_gradients(shape, sequences, lse, delta, gradients.dsinks);
  }
}

template void attention_backward(const AttentionShape<float>&,
                                 std::span<const AttentionSequence<float>>, const float*,
                                 const float*, const float*, const float*,
                                 const AttentionGradients<float>&);
template void attention_backward(const AttentionShape<double>&,
                                 std::span<const AttentionSequence<double>>, const double*,
                                 const double*, const double*, const double*,
                                 const AttentionGradients<double>&);

}  // namespace moxie::kernels
