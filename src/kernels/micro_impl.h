#pragma once
// Included once by micro_avx2.cpp and micro_avx512.cpp, which define kVector (bytes of a register)
// and kRows (of the register tile) first. Everything has internal linkage: nothing compiled for one
// instruction set may be picked by the linker for another. Products and sums fuse (-ffp-contract).
#include <immintrin.h>

#include <cstdint>

#include "kernels/micro.h"

namespace moxie::kernels {
namespace {

using Vec [[gnu::vector_size(kVector)]] = float;
using Loose [[gnu::vector_size(kVector), gnu::aligned(4), gnu::may_alias]] = float;

constexpr int kLanes = kVector / 4;
constexpr int kCols = 2 * kLanes;

[[gnu::always_inline]] inline Vec load(const float* src) {
  return *reinterpret_cast<const Loose*>(src);
}
[[gnu::always_inline]] inline void store(float* dst, Vec value) {
  *reinterpret_cast<Loose*>(dst) = value;
}

template <int kR>
void full_tile(int64_t k, const float* a, int64_t a_row, int64_t a_step, const float* b,
               int64_t ldb, float* c, int64_t ldc, float alpha, bool accumulate) {
  Vec sums[kR][2] = {};
  for (int64_t p = 0; p < k; ++p) {
    const Vec b0 = load(b);
    const Vec b1 = load(b + kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < kR; ++i) {
      const float scale = a[i * a_row];
      sums[i][0] += scale * b0;
      sums[i][1] += scale * b1;
    }
    a += a_step;
    b += ldb;
  }
#pragma GCC unroll 16
  for (int i = 0; i < kR; ++i) {
    float* out = c + i * ldc;
    Vec c0 = {};
    Vec c1 = {};
    if (accumulate) {
      c0 = load(out);
      c1 = load(out + kLanes);
    }
    store(out, c0 + alpha * sums[i][0]);
    store(out + kLanes, c1 + alpha * sums[i][1]);
  }
}

template <int kR>
void run_tile(int r, int64_t k, const float* a, int64_t a_row, int64_t a_step, const float* b,
              int64_t ldb, float* c, int64_t ldc, float alpha, bool accumulate) {
  if (r == kR) return full_tile<kR>(k, a, a_row, a_step, b, ldb, c, ldc, alpha, accumulate);
  if constexpr (kR > 1) {
    run_tile<kR - 1>(r, k, a, a_row, a_step, b, ldb, c, ldc, alpha, accumulate);
  }
}

void tile(int r, int n, int64_t k, const float* a, int64_t a_row, int64_t a_step, const float* b,
          int64_t ldb, float* c, int64_t ldc, float alpha, bool accumulate) {
  if (n == kCols) {
    return run_tile<kRows>(r, k, a, a_row, a_step, b, ldb, c, ldc, alpha, accumulate);
  }
  float edge[kRows * kCols];  // the same arithmetic on a full-width copy
  for (int i = 0; i < r; ++i) {
    for (int j = 0; j < n; ++j) edge[i * kCols + j] = accumulate ? c[i * ldc + j] : 0.0f;
    for (int j = n; j < kCols; ++j) edge[i * kCols + j] = 0.0f;
  }
  run_tile<kRows>(r, k, a, a_row, a_step, b, ldb, edge, kCols, alpha, accumulate);
  for (int i = 0; i < r; ++i) {
    for (int j = 0; j < n; ++j) c[i * ldc + j] = edge[i * kCols + j];
  }
}

// dst[p * kCols + j] = src[j * ld + p] for 8 rows j and 8 columns p.
[[gnu::always_inline]] inline void transpose8(const float* src, int64_t ld, float* dst) {
  __m256 row[8];
  for (int j = 0; j < 4; ++j) {  // rows j and j + 4 share a register, by halves
    const __m256 low = _mm256_castps128_ps256(_mm_loadu_ps(src + j * ld));
    const __m256 high = _mm256_castps128_ps256(_mm_loadu_ps(src + j * ld + 4));
    row[j] = _mm256_insertf128_ps(low, _mm_loadu_ps(src + (j + 4) * ld), 1);
    row[j + 4] = _mm256_insertf128_ps(high, _mm_loadu_ps(src + (j + 4) * ld + 4), 1);
  }
  for (int half = 0; half < 8; half += 4) {
    const __m256 a = _mm256_unpacklo_ps(row[half], row[half + 1]);
    const __m256 b = _mm256_unpackhi_ps(row[half], row[half + 1]);
    const __m256 c = _mm256_unpacklo_ps(row[half + 2], row[half + 3]);
    const __m256 d = _mm256_unpackhi_ps(row[half + 2], row[half + 3]);
    _mm256_storeu_ps(dst + (half + 0) * kCols, _mm256_shuffle_ps(a, c, 0x44));
    _mm256_storeu_ps(dst + (half + 1) * kCols, _mm256_shuffle_ps(a, c, 0xEE));
    _mm256_storeu_ps(dst + (half + 2) * kCols, _mm256_shuffle_ps(b, d, 0x44));
    _mm256_storeu_ps(dst + (half + 3) * kCols, _mm256_shuffle_ps(b, d, 0xEE));
  }
}

void transpose(int n, int64_t k, const float* src, int64_t ld, float* panel) {
  int j = 0;
  for (; j + 8 <= n; j += 8) {
    const float* rows = src + j * ld;
    int64_t p = 0;
    for (; p + 8 <= k; p += 8) transpose8(rows + p, ld, panel + p * kCols + j);
    for (; p < k; ++p) {
      for (int i = 0; i < 8; ++i) panel[p * kCols + j + i] = rows[i * ld + p];
    }
  }
  for (; j < kCols; ++j) {
    for (int64_t p = 0; p < k; ++p) panel[p * kCols + j] = j < n ? src[j * ld + p] : 0.0f;
  }
}

[[gnu::always_inline]] inline float total(Vec v) {
  __m256 sum8;
  __builtin_memcpy(&sum8, &v, sizeof(sum8));
  if constexpr (kVector == 64) {
    __m256 high;
    __builtin_memcpy(&high, reinterpret_cast<const char*>(&v) + 32, sizeof(high));
    sum8 = _mm256_add_ps(sum8, high);
  }
  const __m128 sum4 = _mm_add_ps(_mm256_castps256_ps128(sum8), _mm256_extractf128_ps(sum8, 1));
  const __m128 sum2 = _mm_add_ps(sum4, _mm_movehl_ps(sum4, sum4));
  return _mm_cvtss_f32(_mm_add_ss(sum2, _mm_movehdup_ps(sum2)));
}

template <int kM>
void dot_rows(int64_t k, const float* w, const float* x, int64_t ldx, float* out) {
  Vec sums[kM][4] = {};
  float tails[kM] = {};
  int64_t p = 0;
  for (; p + 4 * kLanes <= k; p += 4 * kLanes) {
#pragma GCC unroll 4
    for (int u = 0; u < 4; ++u) {
      const Vec wv = load(w + p + u * kLanes);
#pragma GCC unroll 2
      for (int i = 0; i < kM; ++i) sums[i][u] += wv * load(x + i * ldx + p + u * kLanes);
    }
  }
  for (; p + kLanes <= k; p += kLanes) {
    const Vec wv = load(w + p);
    for (int i = 0; i < kM; ++i) sums[i][0] += wv * load(x + i * ldx + p);
  }
  for (; p < k; ++p) {
    for (int i = 0; i < kM; ++i) tails[i] += w[p] * x[i * ldx + p];
  }
  for (int i = 0; i < kM; ++i) {
    out[i] = total((sums[i][0] + sums[i][1]) + (sums[i][2] + sums[i][3])) + tails[i];
  }
}

void dots(int m, int64_t k, const float* w, const float* x, int64_t ldx, float* out) {
  int i = 0;
  for (; i + 2 <= m; i += 2) dot_rows<2>(k, w, x + i * ldx, ldx, out + i);
  if (i < m) dot_rows<1>(k, w, x + i * ldx, ldx, out + i);
}

constexpr Micro kTable{kRows, kCols, tile, transpose, dots};

}  // namespace
}  // namespace moxie::kernels
