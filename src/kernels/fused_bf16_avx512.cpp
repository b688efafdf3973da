#ifndef MOXIE_SCALAR_ONLY
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "kernels/fused_bf16.h"
#include "kernels/micro_tiles_avx512.h"

namespace moxie::kernels {
namespace {

constexpr float kLog2E = 1.44269504088896341f;

// 2^x, off by at most 3e-6 of itself: the polynomial is the best of degree 4 on [-1/2, 1/2] that is
// 1 at 0 (fitted by Lawson's algorithm).
inline __m512 exp2(__m512 x) {
  const __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 r = _mm512_sub_ps(x, n);
  __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(0.009582852944731712f), r,
                             _mm512_set1_ps(0.055906426161527634f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.24024099111557007f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.6931241750717163f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(p, n);
}

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

inline __m512i rounded(__m512 low, __m512 high) {
  return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low));
}
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
  const auto low_mask = static_cast<__mmask16>(cols >= 16 ? 0xFFFF : (1 << cols) - 1);
  const auto high_mask = static_cast<__mmask16>(cols >= 32  ? 0xFFFF
                                                : cols > 16 ? (1 << (cols - 16)) - 1
                                                            : 0);
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

// exp(s - shift) for s - shift <= 88, also of s = -infinity.
inline __m512 exp_below(__m512 s, __m512 shift_log2) {
  const __m512 power = _mm512_fmsub_ps(s, _mm512_set1_ps(kLog2E), shift_log2);
  return exp2(_mm512_max_ps(_mm512_set1_ps(-1000.0f), power));  // of a NaN, the second
}

float largest(const float* s, int64_t n) {
  __m512 low = _mm512_loadu_ps(s);
  __m512 high = _mm512_loadu_ps(s + 16);
  for (int64_t j = 32; j < n; j += 32) {
    low = _mm512_max_ps(low, _mm512_loadu_ps(s + j));
    high = _mm512_max_ps(high, _mm512_loadu_ps(s + j + 16));
  }
  return _mm512_reduce_max_ps(_mm512_max_ps(low, high));
}

void soften(const float* s, int64_t stride, int64_t rows, int64_t n, float* most, float* total,
            float* shrink, BFloat16* w) {
  // Of all rows first, so that no exponential waits for a maximum.
  for (int64_t r = 0; r < rows; ++r) {
    shrink[r] = most[r];
    most[r] = std::max(most[r], largest(s + r * stride, n));
  }
  for (int64_t r = 0; r < rows; ++r, s += stride, w += kTileDepth) {
    const bool is_blind = most[r] == -INFINITY;
    const __m512 shift = _mm512_set1_ps(is_blind ? 0.0f : most[r] * kLog2E);
    __m512 sum[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    BFloat16* to = w;
    for (int64_t j = 0; j < n; j += 32, to += kTilePair) {
      const __m512 low = exp_below(_mm512_loadu_ps(s + j), shift);
      const __m512 high = exp_below(_mm512_loadu_ps(s + j + 16), shift);
      sum[0] = _mm512_add_ps(sum[0], low);
      sum[1] = _mm512_add_ps(sum[1], high);
      _mm512_store_si512(to, rounded(low, high));
    }
    shrink[r] = shrink[r] == most[r] ? 1.0f : std::exp(shrink[r] - most[r]);
    total[r] = total[r] * shrink[r] + _mm512_reduce_add_ps(_mm512_add_ps(sum[0], sum[1]));
  }
}

// Lanes of columns [j, j + 16) that a row sees.
inline __mmask16 seen(int64_t begin, int64_t end, int64_t j) {
  const int64_t from = std::clamp<int64_t>(begin - j, 0, 16);
  const int64_t to = std::clamp<int64_t>(end - j, 0, 16);
  return static_cast<__mmask16>(from < to ? (1 << to) - (1 << from) : 0);
}

void score_gradients(const ScoreBand& t, const ScoreTiles& tiles) {
  for (int64_t r = 0; r < kBandLines; r += 2) {
    __m512 shift[2];
    __m512 delta[2];
    int64_t begin[2] = {};
    int64_t end[2] = {};  // of a row that is not there: it sees nothing
    const float* s[2] = {t.s, t.s};
    const float* dp[2] = {t.dp, t.dp};
    for (int64_t i = 0; i < 2; ++i) {
      const bool is_there = r + i < t.rows;
      shift[i] = _mm512_set1_ps(is_there ? t.lse[r + i] * kLog2E : 0.0f);
      delta[i] = _mm512_set1_ps(is_there ? t.delta[r + i] : 0.0f);
      if (!is_there) continue;
      begin[i] = t.begin[r + i] - t.first;
      end[i] = t.end[r + i] - t.first;
      s[i] = t.s + (r + i) * t.stride;
      dp[i] = t.dp + (r + i) * t.stride;
    }
    BFloat16* along = tiles.ds + r * kTileDepth;
    int64_t down = r / 2 * 2 * kLines;
    for (int64_t j = 0; j < t.n; j += 32, along += kTilePair, down += tiles.step) {
      __m512 p[2][2];
      __m512 ds[2][2];
      for (int i = 0; i < 2; ++i) {
        for (int half = 0; half < 2; ++half) {
          const int64_t at = j + 16 * half;
          const __mmask16 mask = seen(begin[i], end[i], at);
          p[i][half] = _mm512_maskz_mov_ps(mask, exp_below(_mm512_loadu_ps(s[i] + at), shift[i]));
          ds[i][half] = _mm512_maskz_mul_ps(mask, p[i][half],
                                            _mm512_sub_ps(_mm512_loadu_ps(dp[i] + at), delta[i]));
        }
        _mm512_store_si512(along + i * kTileDepth, rounded(ds[i][0], ds[i][1]));
      }
      for (int half = 0; half < 2; ++half) {
        const int64_t at = down + half * kTileSize;
        _mm512_store_si512(tiles.p_down + at, paired(p[0][half], p[1][half]));
        _mm512_store_si512(tiles.ds_down + at, paired(ds[0][half], ds[1][half]));
      }
    }
  }
}

void transpose(const float* from, int64_t ld, int64_t rows, int64_t cols, float* to) {
  for (int64_t i = 0; i < rows; i += 16) {
    for (int64_t c = 0; c < cols; c += 16) {
      const auto in = static_cast<__mmask16>(rows - i >= 16 ? 0xFFFF : (1 << (rows - i)) - 1);
      const auto out = static_cast<__mmask16>(cols - c >= 16 ? 0xFFFF : (1 << (cols - c)) - 1);
      __m512i lines[16];
      for (int64_t k = 0; k < 16; ++k) {
        const __mmask16 mask = c + k < cols ? in : 0;
        lines[k] = _mm512_maskz_loadu_epi32(mask, from + (c + k) * ld + i);
      }
      __m512i turned[16];
      transpose_words(lines, turned);
      for (int64_t k = 0; k < std::min<int64_t>(16, rows - i); ++k)
        _mm512_mask_storeu_epi32(to + (i + k) * cols + c, out, turned[k]);
    }
  }
}

}  // namespace

const FusedTiles kFusedBF16Avx512{gate<ToBF16>, gate_backward<ToBF16>, settle, exponentials<ToBF16>,
                                  scale_rows};
const FusedTiles kFusedInt8Avx512{gate<ToInt8>, gate_backward<ToInt8>, settle, exponentials<ToInt8>,
                                  scale_rows8};
const FusedAttention kFusedAttentionAvx512{soften, score_gradients, transpose};

}  // namespace moxie::kernels
#endif
