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
#pragma GCC unroll 16
  for (int i = 0; i < kR; ++i) {  // of large matrices C is in memory
    for (int j = 0; j < kCols; j += 16) __builtin_prefetch(c + i * ldc + j, 1);
  }
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

// Row by row, so that src is read from end to end.
void pack(int64_t n, int64_t k, const float* src, int64_t ld, float* panels) {
  for (int64_t p = 0; p < k; ++p, src += ld, panels += kCols) {
    float* line = panels;
    int64_t j = 0;
    for (; j + kCols <= n; j += kCols, line += kCols * k) {
      store(line, load(src + j));
      store(line + kLanes, load(src + j + kLanes));
    }
    if (j == n) continue;
    for (int64_t i = 0; i < kCols; ++i) line[i] = j + i < n ? src[j + i] : 0.0f;
  }
}

constexpr Micro kTable{kRows, kCols, tile, transpose, pack};

}  // namespace
}  // namespace moxie::kernels
