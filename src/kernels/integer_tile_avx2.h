#pragma once
// What the register tiles of 16- and 8-bit integers share (micro16.h, micro8.h): how sums of codes
// become numbers of C, and how tiles with fewer rows or columns run. For files compiled for AVX2.
#include <immintrin.h>

#include <algorithm>
#include <cstdint>

namespace moxie::kernels {

inline constexpr int kTileCols = 16;  // two registers

// c[i, j] (+)= a_scales[i * a_step] b_scales[j] sums[i, j].
template <int kR>
[[gnu::always_inline]] static inline void scale_sums(const __m256i (&sums)[kR][2],
                                                     const float* a_scales, int64_t a_step,
                                                     const float* b_scales, float* c, int64_t ldc,
                                                     bool accumulate) {
  const __m256 s0 = _mm256_loadu_ps(b_scales);
  const __m256 s1 = _mm256_loadu_ps(b_scales + 8);
#pragma GCC unroll 16
  for (int i = 0; i < kR; ++i) {
    float* out = c + i * ldc;
    const __m256 scale = _mm256_set1_ps(a_scales[i * a_step]);
    const __m256 c0 = accumulate ? _mm256_loadu_ps(out) : _mm256_setzero_ps();
    const __m256 c1 = accumulate ? _mm256_loadu_ps(out + 8) : _mm256_setzero_ps();
    const __m256 f0 = _mm256_cvtepi32_ps(sums[i][0]);
    const __m256 f1 = _mm256_cvtepi32_ps(sums[i][1]);
    _mm256_storeu_ps(out, _mm256_fmadd_ps(_mm256_mul_ps(scale, s0), f0, c0));
    _mm256_storeu_ps(out + 8, _mm256_fmadd_ps(_mm256_mul_ps(scale, s1), f1, c1));
  }
}

// Calls full.template operator()<t.r>(t).
template <int kR, class Tile, class Full>
static inline void run_rows(const Tile& t, const Full& full) {
  if (t.r == kR) return full.template operator()<kR>(t);
  if constexpr (kR > 1) run_rows<kR - 1>(t, full);
}

// The same for a tile of any width, with a full one.
template <int kRows, class Tile, class Full>
static inline void run_tile(const Tile& t, const Full& full) {
  if (t.n == kTileCols) return run_rows<kRows>(t, full);
  float edge[kRows * kTileCols] = {};  // the same arithmetic on a full-width copy
  for (int i = 0; i < t.r && t.accumulate; ++i)
    std::copy_n(t.c + i * t.ldc, t.n, edge + i * kTileCols);
  Tile whole = t;
  whole.c = edge;
  whole.ldc = kTileCols;
  run_rows<kRows>(whole, full);
  for (int i = 0; i < t.r; ++i) std::copy_n(edge + i * kTileCols, t.n, t.c + i * t.ldc);
}

}  // namespace moxie::kernels
