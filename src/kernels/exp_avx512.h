#pragma once
// Exponentials, and which scores of a row count, for sources that are compiled for AVX-512.
// Everything has internal linkage, as in micro_impl.h.
#include <immintrin.h>

#include <algorithm>
#include <cstdint>

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

// exp(s - shift) for s - shift <= 88, also of s = -infinity.
inline __m512 exp_below(__m512 s, __m512 shift_log2) {
  const __m512 power = _mm512_fmsub_ps(s, _mm512_set1_ps(kLog2E), shift_log2);
  return exp2(_mm512_max_ps(_mm512_set1_ps(-1000.0f), power));  // of a NaN, the second
}

// Lanes of columns [j, j + 16) that a row sees.
inline __mmask16 seen(int64_t begin, int64_t end, int64_t j) {
  const int64_t from = std::clamp<int64_t>(begin - j, 0, 16);
  const int64_t to = std::clamp<int64_t>(end - j, 0, 16);
  return static_cast<__mmask16>(from < to ? (1 << to) - (1 << from) : 0);
}

}  // namespace
}  // namespace moxie::kernels
