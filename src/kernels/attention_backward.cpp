#include <cmath>
#include <memory>
#include <vector>

#include "kernels/attention.h"
#include "kernels/attention_tiles.h"
#include "kernels/rowwise.h"
#include "kernels/tile_ops.h"

// dv_j = sum_i p_ij do_i;   ds_ij = p_ij (do_i . v_j - do_i . out_i) cap'(s_ij) scale
// dq_i = sum_j ds_ij k_j;   dk_j = sum_i ds_ij q_i;   dsink_h = -sum_i exp(sink_h - lse_i) do_i .
// out_i
namespace moxie::kernels {
namespace {

constexpr int64_t kLeastSegment = 512;  // queries: a shorter sequence is not cut
constexpr int64_t kMostSegments = 4;    // of a sequence: each has sums of its own for dk and dv

// Queries [begin, end) of one head of a sequence, and the keys that they see.
template <class T>
struct Unit {
  size_t sequence;
  int64_t head, begin, end;
  KeyRange keys;
  T* dk = nullptr;  // its share of the sums, [keys, head_dim]
  T* dv = nullptr;
};

// Rows of a head of q stand `stride` apart, of k and v `kv_stride`.
template <class T>
struct Pass {
  const AttentionShape<T>& shape;
  const AttentionSequence<T>& s;
  const T* q;
  const T* dout;
  T* dq;
  const T* lse;
  const T* delta;  // do_i . out_i, as lse is laid out
  int64_t stride, kv_stride;

  int64_t position(int64_t i) const { return s.kv_len - s.q_len + i; }
};

template <class T>
struct Buffers {
  T *keys, *key_rows, *values, *queries, *douts, *p, *ds, *raw;
};

template <class T>
Buffers<T> buffers_for(int64_t d) {
  const int64_t across = packed_size<T>(d, kKeyTile);
  const int64_t along = packed_size<T>(kKeyTile, d);
  const int64_t tile = kQueryTile * kKeyTile;
  T* memory = TileOps<T>::memory(Scratch::kTiles, 2 * across + 3 * along + 3 * tile);
  Buffers<T> buffers{};
  const auto take = [&](T*& part, int64_t size) {
    part = memory;
    memory += size;
  };
  take(buffers.keys, across);
  take(buffers.values, across);
  take(buffers.key_rows, along);
  take(buffers.queries, along);
  take(buffers.douts, along);
  take(buffers.p, tile);
  take(buffers.ds, tile);
  take(buffers.raw, tile);
  return buffers;
}

// p and ds of queries [i0, i1) of a head against keys [j0, j1); 0 where a key is not visible.
template <class T>
void tile_gradients(const Pass<T>& pass, int64_t head, int64_t i0, int64_t i1, int64_t j0,
                    int64_t j1, const Buffers<T>& b) {
  const auto& rows = row_kernels<T>();
  const auto& shape = pass.shape;
  const int64_t d = shape.head_dim;
  multiply(i1 - i0, j1 - j0, d, pass.q + i0 * pass.stride + head * d, pass.stride, int64_t{1},
           b.keys, b.p, kKeyTile, shape.scale, false);
  multiply(i1 - i0, j1 - j0, d, pass.dout + i0 * pass.stride + head * d, pass.stride, int64_t{1},
           b.values, b.ds, kKeyTile, T{1}, false);
  for (int64_t i = i0; i < i1; ++i) {
    T* p = b.p + (i - i0) * kKeyTile;
    T* ds = b.ds + (i - i0) * kKeyTile;
    const KeyRange keys = visible_keys(shape, pass.position(i), pass.s.kv_len);
    const int64_t begin = std::clamp(keys.begin - j0, int64_t{0}, j1 - j0);
    const int64_t end = std::clamp(keys.end - j0, begin, j1 - j0);
    for (T* row : {p, ds}) {
      std::fill(row, row + begin, T{0});
      std::fill(row + end, row + (j1 - j0), T{0});
    }
    if (begin == end) continue;
    T* capped = p;
    if (shape.softcap > 0) {
      capped = b.raw + (i - i0) * kKeyTile;
      rows.softcap(p + begin, shape.softcap, capped + begin, end - begin);
    }
    rows.exp_sum(capped + begin, pass.lse[i * shape.heads + head], p + begin, end - begin);
    rows.score_gradient(p + begin, ds + begin, capped + begin, pass.delta[i * shape.heads + head],
                        shape.scale, shape.softcap, ds + begin, end - begin);
  }
}

template <class T>
void run_unit(const Pass<T>& pass, const Unit<T>& unit) {
  const auto& shape = pass.shape;
  const int64_t d = shape.head_dim;
  const Buffers<T> b = buffers_for<T>(d);
  const int64_t column = unit.head / (shape.heads / shape.kv_heads) * d;
  for (int64_t i = unit.begin; i < unit.end; ++i) {
    std::fill_n(pass.dq + i * pass.stride + unit.head * d, d, T{0});
  }
  for (T* sums : {unit.dk, unit.dv}) std::fill_n(sums, (unit.keys.end - unit.keys.begin) * d, T{0});
  for (int64_t j0 = unit.keys.begin; j0 < unit.keys.end; j0 += kKeyTile) {
    const int64_t j1 = std::min(unit.keys.end, j0 + kKeyTile);
    const T* keys = pass.s.k + j0 * pass.kv_stride + column;
    pack_transposed(d, j1 - j0, keys, pass.kv_stride, b.keys);
    pack_rows(j1 - j0, d, keys, pass.kv_stride, b.key_rows);
    pack_transposed(d, j1 - j0, pass.s.v + j0 * pass.kv_stride + column, pass.kv_stride, b.values);
    T* dk = unit.dk + (j0 - unit.keys.begin) * d;
    T* dv = unit.dv + (j0 - unit.keys.begin) * d;
    for (int64_t i0 = unit.begin; i0 < unit.end; i0 += kQueryTile) {
      const int64_t i1 = std::min(unit.end, i0 + kQueryTile);
      if (visible_keys(shape, pass.position(i1 - 1), pass.s.kv_len).end <= j0) continue;
      if (visible_keys(shape, pass.position(i0), pass.s.kv_len).begin >= j1) break;
      tile_gradients(pass, unit.head, i0, i1, j0, j1, b);
      const int64_t at = i0 * pass.stride + unit.head * d;
      pack_rows(i1 - i0, d, pass.dout + at, pass.stride, b.douts);
      pack_rows(i1 - i0, d, pass.q + at, pass.stride, b.queries);
      multiply(j1 - j0, d, i1 - i0, b.p, int64_t{1}, kKeyTile, b.douts, dv, d, T{1}, true);
      multiply(j1 - j0, d, i1 - i0, b.ds, int64_t{1}, kKeyTile, b.queries, dk, d, T{1}, true);
      multiply(i1 - i0, d, j1 - j0, b.ds, kKeyTile, int64_t{1}, b.key_rows, pass.dq + at,
               pass.stride, T{1}, true);
    }
  }
}

template <class T>
struct Plan {
  std::vector<Unit<T>> units;   // sequence by sequence
  std::vector<size_t> first;    // of each sequence, and an end
  std::vector<size_t> order;    // in which units are dealt: those with most to do first
  std::unique_ptr<T[]> memory;  // of their sums
};

template <class T>
void add_units(const AttentionShape<T>& shape, const AttentionSequence<T>& s, size_t index,
               std::vector<Unit<T>>& units) {
  const int64_t segments = std::clamp(s.q_len / kLeastSegment, int64_t{1}, kMostSegments);
  const int64_t position = s.kv_len - s.q_len;
  for (int64_t head = 0; head < shape.heads; ++head) {
    for (int64_t part = 0; part < segments; ++part) {
      const int64_t begin = s.q_len * part / segments;
      const int64_t end = s.q_len * (part + 1) / segments;
      if (begin == end) continue;
      units.push_back({index,
                       head,
                       begin,
                       end,
                       {visible_keys(shape, position + begin, s.kv_len).begin,
                        visible_keys(shape, position + end - 1, s.kv_len).end}});
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
  const auto keys = [&](size_t unit) {
    return plan.units[unit].keys.end - plan.units[unit].keys.begin;
  };
  int64_t all = 0;
  for (size_t i = 0; i < plan.units.size(); ++i) all += keys(i);
  const int64_t d = shape.head_dim;
  plan.memory = std::make_unique_for_overwrite<T[]>(static_cast<size_t>(2 * d * all));
  T* free = plan.memory.get();
  for (size_t i = 0; i < plan.units.size(); ++i) {
    plan.order.push_back(i);
    plan.units[i].dk = free;
    plan.units[i].dv = free + d * keys(i);
    free += 2 * d * keys(i);
  }
  std::stable_sort(plan.order.begin(), plan.order.end(),
                   [&](size_t a, size_t b) { return keys(a) > keys(b); });
  return plan;
}

// dk and dv of row j of a sequence: what its units found, in their order.
template <class T>
void sum_units(const AttentionShape<T>& shape, std::span<const Unit<T>> units, int64_t j, T* dk,
               T* dv) {
  const int64_t d = shape.head_dim;
  const auto& rows = row_kernels<T>();
  std::fill_n(dk, shape.kv_heads * d, T{0});
  std::fill_n(dv, shape.kv_heads * d, T{0});
  for (const Unit<T>& unit : units) {
    if (j < unit.keys.begin || j >= unit.keys.end) continue;
    const int64_t column = unit.head / (shape.heads / shape.kv_heads) * d;
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
  deal(static_cast<int64_t>(plan.order.size()), [&](int64_t turn) {
    const Unit<T>& unit = plan.units[plan.order[static_cast<size_t>(turn)]];
    const auto& s = sequences[unit.sequence];
    const int64_t row = s.q_begin;
    run_unit(Pass<T>{shape, s, q + row * stride, dout + row * stride, gradients.dq + row * stride,
                     lse + row * shape.heads, delta.data() + row * shape.heads, stride, kv_stride},
             unit);
  });
  for (size_t i = 0; i < sequences.size(); ++i) {
    const auto own = std::span<const Unit<T>>(plan.units)
                         .subspan(plan.first[i], plan.first[i + 1] - plan.first[i]);
    parallel_for(sequences[i].kv_len, 64, [&](int64_t begin, int64_t end) {
      for (int64_t j = begin; j < end; ++j) {
        const int64_t at = (kv_begin[i] + j) * kv_stride;
        sum_units(shape, own, j, gradients.dk + at, gradients.dv + at);
      }
    });
  }
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
