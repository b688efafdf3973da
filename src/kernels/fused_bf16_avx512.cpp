#ifndef MOXIE_SCALAR_ONLY
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "kernels/exp_avx512.h"
#include "kernels/fused_bf16.h"
#include "kernels/micro_tiles_avx512.h"

namespace moxie::kernels {
namespace {

// 1 / (1 + exp(-x))
inline __m512 logistic(__m512 x) {
  const __m512 power =
      _mm512_min_ps(_mm512_mul_ps(x, _mm512_set1_ps(-kLog2E)), _mm512_set1_ps(126.0f));
  const __m512 sum = _mm512_add_ps(_mm512_set1_ps(1.0f), exp2(power));
  const __m512 near = _mm512_rcp14_ps(sum);
  return _mm512_mul_ps(near, _mm512_fnmadd_ps(sum, near, _mm512_set1_ps(2.0f)));
}

struct Silu {
  static __m512 value(__m512 x) { return _mm512_mul_ps(x, logistic(x)); }
  static void both(__m512 x, __m512& value, __m512& slope) {
    const __m512 s = logistic(x);
    value = _mm512_mul_ps(x, s);
    // s (1 + x (1 - s)) = s + value - value s
    slope = _mm512_fnmadd_ps(value, s, _mm512_add_ps(s, value));
  }
};

struct GeluTanh {  // 0.5 (1 + tanh(u)) is the logistic function of 2 u
  static __m512 inner(__m512 x, __m512 square) {
    const __m512 cubic = _mm512_fmadd_ps(_mm512_set1_ps(0.044715f), square, _mm512_set1_ps(1.0f));
    return _mm512_mul_ps(_mm512_mul_ps(_mm512_set1_ps(1.5957691216057308f), x), cubic);
  }
  static __m512 value(__m512 x) {
    return _mm512_mul_ps(x, logistic(inner(x, _mm512_mul_ps(x, x))));
  }
  static void both(__m512 x, __m512& value, __m512& slope) {
    const __m512 square = _mm512_mul_ps(x, x);
    const __m512 s = logistic(inner(x, square));
    value = _mm512_mul_ps(x, s);
    const __m512 back = _mm512_fnmadd_ps(value, s, value);  // value (1 - s)
    const __m512 factor =
        _mm512_mul_ps(_mm512_set1_ps(1.5957691216057308f),
                      _mm512_fmadd_ps(_mm512_set1_ps(0.134145f), square, _mm512_set1_ps(1.0f)));
    slope = _mm512_fmadd_ps(back, factor, s);
  }
};

inline __m512 widened(const BFloat16* src) {
  const __m256i halves = _mm256_load_si256(reinterpret_cast<const __m256i*>(src));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}
// Past the caches.
inline void put_away(BFloat16* dst, __m512i numbers) {
  _mm512_stream_si512(reinterpret_cast<__m512i*>(dst), numbers);
}

// Where a block's numbers go, 32 of a row at a time: to bf16 at once, or to 8-bit integers when all
// are there.
class ToBF16 {
 public:
  explicit ToBF16(BFloat16* tiles) : tiles_(tiles) {}
  void put(int64_t at, __m512 low, __m512 high) const {
    _mm512_store_si512(tiles_ + at, rounded(low, high));
  }
  void finish() const {}

 private:
  BFloat16* tiles_;
};
class ToInt8 {
 public:
  explicit ToInt8(BFloat16* tiles) : tiles_(tiles) {}
  void put(int64_t at, __m512 low, __m512 high) {
    _mm512_store_ps(numbers_ + at, low);
    _mm512_store_ps(numbers_ + at + 16, high);
  }
  void finish() const {
    kMicroInt8Avx512.along(numbers_, kBandLines, kBandLines, kBandLines, Side::kA, tiles_);
  }

 private:
  BFloat16* tiles_;
  alignas(64) float numbers_[kBlockNumbers];
};

template <class F, class To>
void gate_with(const float* g, const float* u, BFloat16* y, BFloat16* g_kept, BFloat16* u_kept) {
  To to(y);
  for (int64_t at = 0; at < kBlockNumbers; at += 32) {
    const __m512 g0 = _mm512_loadu_ps(g + at), g1 = _mm512_loadu_ps(g + at + 16);
    const __m512 u0 = _mm512_loadu_ps(u + at), u1 = _mm512_loadu_ps(u + at + 16);
    to.put(at, _mm512_mul_ps(F::value(g0), u0), _mm512_mul_ps(F::value(g1), u1));
    if (g_kept != nullptr) put_away(g_kept + at, rounded(g0, g1));
    if (u_kept != nullptr) put_away(u_kept + at, rounded(u0, u1));
  }
  to.finish();
}

template <class To>
constexpr const FusedTiles& scalar() {
  return std::is_same_v<To, ToBF16> ? kFusedBF16Scalar : kFusedInt8Scalar;
}

template <class To>
void gate(Activation kind, const float* g, const float* u, BFloat16* y, BFloat16* g_kept,
          BFloat16* u_kept) {
  if (kind == Activation::kSilu) return gate_with<Silu, To>(g, u, y, g_kept, u_kept);
  if (kind == Activation::kGeluTanh) return gate_with<GeluTanh, To>(g, u, y, g_kept, u_kept);
  scalar<To>().gate(kind, g, u, y, g_kept, u_kept);
}

template <class F, class To>
void gate_backward_with(const float* dy, const BFloat16* g, const BFloat16* u, BFloat16* dg_tiles,
                        BFloat16* du_tiles, BFloat16* y) {
  To to_g(dg_tiles);
  To to_u(du_tiles);
  for (int64_t at = 0; at < kBlockNumbers; at += 32) {
    // Of the block to the right, which comes next.
    _mm_prefetch(reinterpret_cast<const char*>(g + at + kTilePair), _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(u + at + kTilePair), _MM_HINT_T0);
    __m512 dg[2];
    __m512 du[2];
    __m512 out[2];
    for (int64_t half = 0; half < 2; ++half) {
      const __m512 d = _mm512_loadu_ps(dy + at + 16 * half);
      __m512 value;
      __m512 slope;
      F::both(widened(g + at + 16 * half), value, slope);
      const __m512 up = widened(u + at + 16 * half);
      dg[half] = _mm512_mul_ps(_mm512_mul_ps(d, up), slope);
      du[half] = _mm512_mul_ps(d, value);
      out[half] = _mm512_mul_ps(value, up);
    }
    if (y != nullptr) _mm512_store_si512(y + at, rounded(out[0], out[1]));
    to_g.put(at, dg[0], dg[1]);
    to_u.put(at, du[0], du[1]);
  }
  to_g.finish();
  to_u.finish();
}

template <class To>
void gate_backward(Activation kind, const float* dy, const BFloat16* g, const BFloat16* u,
                   BFloat16* dg, BFloat16* du, BFloat16* y) {
  if (kind == Activation::kSilu) return gate_backward_with<Silu, To>(dy, g, u, dg, du, y);
  if (kind == Activation::kGeluTanh) return gate_backward_with<GeluTanh, To>(dy, g, u, dg, du, y);
  scalar<To>().gate_backward(kind, dy, g, u, dg, du, y);
}

void settle() {
  _mm_sfence();
}

// What rows are relative to follows their largest score once that is well above it: a horizontal
// maximum for every row of every block would cost more than the exponentials.
constexpr float kSlack = 40.0f;

template <class To>
void exponentials(const float* s, int64_t cols, float factor, const SoftmaxRows& rows,
                  float* relative, BFloat16* w) {
  To to(w);
  const __mmask16 low_mask = first_lanes(cols);
  const __mmask16 high_mask = first_lanes(cols - 16);
  const __m512 by = _mm512_set1_ps(factor);
  const __m512 never = _mm512_set1_ps(-1e30f);  // finite, or exp2 would make a NaN of it
  for (int64_t i = 0; i < kBandLines; ++i, s += kBandLines) {
    const __m512 low = _mm512_mask_mul_ps(never, low_mask, by, _mm512_loadu_ps(s));
    const __m512 high = _mm512_mask_mul_ps(never, high_mask, by, _mm512_loadu_ps(s + 16));
    const __m512 larger = _mm512_max_ps(low, high);
    float most = rows.most[i];
    __m512 sums = _mm512_loadu_ps(rows.total + 16 * i);
    if (_mm512_cmp_ps_mask(larger, _mm512_set1_ps(most + kSlack), _CMP_GT_OQ) != 0) {
      const float top = _mm512_reduce_max_ps(larger);
      const __m512 change = _mm512_set1_ps((most - top) * kLog2E);
      sums = most == -INFINITY ? _mm512_setzero_ps() : _mm512_mul_ps(sums, exp2(change));
      rows.most[i] = most = top;
    }
    relative[i] = most;
    const __m512 shift = _mm512_set1_ps(-most * kLog2E);
    const __m512 e0 = exp2(_mm512_fmadd_ps(low, _mm512_set1_ps(kLog2E), shift));
    const __m512 e1 = exp2(_mm512_fmadd_ps(high, _mm512_set1_ps(kLog2E), shift));
    _mm512_storeu_ps(rows.total + 16 * i, _mm512_add_ps(sums, _mm512_add_ps(e0, e1)));
    to.put(i * kBandLines, e0, e1);
  }
  to.finish();
}

void scale_rows(const float* factors, BFloat16* w) {
  for (int64_t i = 0; i < kBandLines; ++i, w += kBandLines) {
    const __m512 factor = _mm512_set1_ps(factors[i]);
    _mm512_store_si512(
        w, rounded(_mm512_mul_ps(factor, widened(w)), _mm512_mul_ps(factor, widened(w + 16))));
  }
}

void scale_rows8(const float* factors, BFloat16* w) {
  for (int64_t half = 0; half < 2; ++half, factors += kLines) {
    auto& tile = reinterpret_cast<Int8TileA*>(w)[half];
    for (float* numbers : {tile.scales, tile.sums}) {
      _mm512_storeu_ps(numbers, _mm512_mul_ps(_mm512_loadu_ps(factors), _mm512_loadu_ps(numbers)));
    }
  }
}

}  // namespace

const FusedTiles kFusedBF16Avx512{gate<ToBF16>, gate_backward<ToBF16>,
                                  settle,       exponentials<ToBF16>,
                                  scale_rows,   score_gradients_bf16_avx512};
const FusedTiles kFusedInt8Avx512{gate<ToInt8>, gate_backward<ToInt8>,
                                  settle,       exponentials<ToInt8>,
                                  scale_rows8,  score_gradients_int8_avx512};

}  // namespace moxie::kernels
#endif
