#include <cmath>
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

// One key head of one sequence. Rows of a head of q stand `stride` apart, of k and v `kv_stride`.
template <class T>
struct Pass {
  const AttentionShape<T>& shape;
  const AttentionSequence<T>& s;
  const T* q;
  const T* dout;
  T* dq;
  T* dk;
  T* dv;
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
void run_pass(const Pass<T>& pass, int64_t kv_head) {
  const auto& shape = pass.shape;
  const int64_t d = shape.head_dim;
  const int64_t group = shape.heads / shape.kv_heads;
  const Buffers<T> b = buffers_for<T>(d);
  const int64_t column = kv_head * d;
  for (int64_t i = 0; i < pass.s.q_len; ++i) {
    std::fill_n(pass.dq + i * pass.stride + kv_head * group * d, group * d, T{0});
  }
  for (int64_t j0 = 0; j0 < pass.s.kv_len; j0 += kKeyTile) {
    const int64_t j1 = std::min(pass.s.kv_len, j0 + kKeyTile);
    const T* keys = pass.s.k + j0 * pass.kv_stride + column;
    pack_transposed(d, j1 - j0, keys, pass.kv_stride, b.keys);
    pack_rows(j1 - j0, d, keys, pass.kv_stride, b.key_rows);
    pack_transposed(d, j1 - j0, pass.s.v + j0 * pass.kv_stride + column, pass.kv_stride, b.values);
    T* dk = pass.dk + j0 * pass.kv_stride + column;
    T* dv = pass.dv + j0 * pass.kv_stride + column;
    for (int64_t j = 0; j < j1 - j0; ++j) {
      std::fill_n(dk + j * pass.kv_stride, d, T{0});
      std::fill_n(dv + j * pass.kv_stride, d, T{0});
    }
    for (int64_t i0 = 0; i0 < pass.s.q_len; i0 += kQueryTile) {
      const int64_t i1 = std::min(pass.s.q_len, i0 + kQueryTile);
      if (visible_keys(shape, pass.position(i1 - 1), pass.s.kv_len).end <= j0) continue;
      if (visible_keys(shape, pass.position(i0), pass.s.kv_len).begin >= j1) break;
      for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
        tile_gradients(pass, head, i0, i1, j0, j1, b);
        const int64_t at = i0 * pass.stride + head * d;
        pack_rows(i1 - i0, d, pass.dout + at, pass.stride, b.douts);
        pack_rows(i1 - i0, d, pass.q + at, pass.stride, b.queries);
        multiply(j1 - j0, d, i1 - i0, b.p, int64_t{1}, kKeyTile, b.douts, dv, pass.kv_stride, T{1},
                 true);
        multiply(j1 - j0, d, i1 - i0, b.ds, int64_t{1}, kKeyTile, b.queries, dk, pass.kv_stride,
                 T{1}, true);
        multiply(i1 - i0, d, j1 - j0, b.ds, kKeyTile, int64_t{1}, b.key_rows, pass.dq + at,
                 pass.stride, T{1}, true);
      }
    }
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
  deal(static_cast<int64_t>(sequences.size()) * shape.kv_heads, [&](int64_t unit) {
    const auto index = static_cast<size_t>(unit / shape.kv_heads);
    const auto& s = sequences[index];
    const int64_t row = s.q_begin;
    run_pass(Pass<T>{shape, s, q + row * stride, dout + row * stride, gradients.dq + row * stride,
                     gradients.dk + kv_begin[index] * kv_stride,
                     gradients.dv + kv_begin[index] * kv_stride, lse + row * shape.heads,
                     delta.data() + row * shape.heads, stride, kv_stride},
             unit % shape.kv_heads);
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
