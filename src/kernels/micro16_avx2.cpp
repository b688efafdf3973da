#ifndef MOXIE_SCALAR_ONLY
#include <immintrin.h>

#include <algorithm>

#include "kernels/micro.h"
#include "kernels/micro16.h"
#include "kernels/rounding.h"

namespace moxie::kernels {
namespace {

// The register tile is 6 x 16: 12 of the 16 registers hold sums, 2 a pair of rows of B, 1 a pair of
// A.
constexpr int kRows = 6;

__m256i load(const int32_t* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}
void store(int32_t* to, __m256i value) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), value);
}

template <int kR>
void full_tile(const Tile16& t) {
  __m256i sums[kR][2];
#pragma GCC unroll 16
  for (int i = 0; i < kR; ++i) sums[i][0] = sums[i][1] = _mm256_setzero_si256();
  const int32_t* a = t.a;
  const int32_t* b = t.b;
  const int64_t row = t.a_row;
  for (int64_t p = 0; p < t.pairs; ++p) {
    const __m256i b0 = load(b);
    const __m256i b1 = load(b + 8);
#pragma GCC unroll 16
    for (int i = 0; i < kR; ++i) {
      const __m256i pair = _mm256_set1_epi32(a[i * row]);
      sums[i][0] = _mm256_add_epi32(sums[i][0], _mm256_madd_epi16(pair, b0));
      sums[i][1] = _mm256_add_epi32(sums[i][1], _mm256_madd_epi16(pair, b1));
    }
    a += t.a_step;
    b += kCols16;
  }
  const __m256 s0 = _mm256_loadu_ps(t.b_scales);
  const __m256 s1 = _mm256_loadu_ps(t.b_scales + 8);
#pragma GCC unroll 16
  for (int i = 0; i < kR; ++i) {
    float* out = t.c + i * t.ldc;
    const __m256 scale = _mm256_set1_ps(t.a_scales[i]);
    const __m256 c0 = t.accumulate ? _mm256_loadu_ps(out) : _mm256_setzero_ps();
    const __m256 c1 = t.accumulate ? _mm256_loadu_ps(out + 8) : _mm256_setzero_ps();
    _mm256_storeu_ps(out,
                     _mm256_fmadd_ps(_mm256_mul_ps(scale, s0), _mm256_cvtepi32_ps(sums[i][0]), c0));
    _mm256_storeu_ps(out + 8,
                     _mm256_fmadd_ps(_mm256_mul_ps(scale, s1), _mm256_cvtepi32_ps(sums[i][1]), c1));
  }
}

template <int kR>
void run_tile(const Tile16& t) {
  if (t.r == kR) return full_tile<kR>(t);
  if constexpr (kR > 1) run_tile<kR - 1>(t);
}

void tile(const Tile16& t) {
  if (t.n == kCols16) return run_tile<kRows>(t);
  float edge[kRows * kCols16] = {};  // the same arithmetic on a full-width copy
  for (int i = 0; i < t.r && t.accumulate; ++i) {
    std::copy_n(t.c + i * t.ldc, t.n, edge + i * kCols16);
  }
  Tile16 whole = t;
  whole.c = edge;
  whole.ldc = kCols16;
  run_tile<kRows>(whole);
  for (int i = 0; i < t.r; ++i) std::copy_n(edge + i * kCols16, t.n, t.c + i * t.ldc);
}

__m256i bits_of_magnitude(__m256 x) {
  return _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(0x7FFFFFFF));
}

float round_row(const float* x, int64_t k, int most, int16_t* codes) {
  const int64_t whole = k / 16 * 16;
  __m256i top = _mm256_setzero_si256();
  for (int64_t p = 0; p < whole; p += 16) {
    top = _mm256_max_epi32(top, bits_of_magnitude(_mm256_loadu_ps(x + p)));
    top = _mm256_max_epi32(top, bits_of_magnitude(_mm256_loadu_ps(x + p + 8)));
  }
  int32_t lanes[8];
  store(lanes, top);
  int32_t magnitude = *std::max_element(lanes, lanes + 8);
  for (int64_t p = whole; p < k; ++p) magnitude = std::max(magnitude, magnitude_bits(x[p]));
  const RoundingSteps steps = rounding_steps(magnitude, most);
  if (steps.inverse == 0) {
    std::fill_n(codes, (k + 1) / 2 * 2, int16_t{0});
    return steps.scale;
  }
  const __m256 inverse = _mm256_set1_ps(steps.inverse);
  for (int64_t p = 0; p < whole; p += 16) {
    const __m256i low = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + p), inverse));
    const __m256i high = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + p + 8), inverse));
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xD8);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes + p), packed);
  }
  for (int64_t p = whole; p < k; ++p) {
    codes[p] = static_cast<int16_t>(_mm_cvtss_si32(_mm_set_ss(x[p] * steps.inverse)));
  }
  if (k % 2 == 1) codes[k] = 0;
  return steps.scale;
}

// Of 8 columns, `mask` those that are there.
void round_eight(const float* x, int64_t ld, int64_t k, __m256i mask, int32_t* panel,
                 float* scales) {
  __m256i most = _mm256_setzero_si256();
  for (int64_t p = 0; p < k; ++p) {
    most = _mm256_max_epi32(most, bits_of_magnitude(_mm256_maskload_ps(x + p * ld, mask)));
  }
  int32_t magnitudes[8];
  float inverses[8];
  store(magnitudes, most);
  for (int j = 0; j < 8; ++j) {
    const RoundingSteps steps = rounding_steps(magnitudes[j], kMost16);
    scales[j] = steps.scale;
    inverses[j] = steps.inverse;
  }
  const __m256 inverse = _mm256_loadu_ps(inverses);
  // A column that holds no numbers has an inverse of 0, and 0 times them would be no code.
  const __m256 is_used = _mm256_cmp_ps(inverse, _mm256_setzero_ps(), _CMP_NEQ_OQ);
  const auto codes = [&](const float* row) {
    const __m256 values = _mm256_and_ps(_mm256_maskload_ps(row, mask), is_used);
    return _mm256_cvtps_epi32(_mm256_mul_ps(values, inverse));
  };
  for (int64_t p = 0; p + 1 < k; p += 2, panel += kCols16, x += 2 * ld) {
    store(panel, _mm256_blend_epi16(codes(x), _mm256_slli_epi32(codes(x + ld), 16), 0xAA));
  }
  if (k % 2 == 1) store(panel, _mm256_blend_epi16(codes(x), _mm256_setzero_si256(), 0xAA));
}

void round_columns(const float* x, int64_t ld, int64_t k, int n, int32_t* panel, float* scales) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  for (int half = 0; half < kCols16; half += 8) {
    const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(n - half), lane);
    round_eight(x + half, ld, k, mask, panel + half, scales + half);
  }
}

void transpose(int n, int64_t pairs, const int32_t* rows, int32_t* panel) {
  // It moves 32 bits whatever they mean.
  kMicroAvx2.transpose(n, pairs, reinterpret_cast<const float*>(rows), pairs,
                       reinterpret_cast<float*>(panel));
}

}  // namespace

const Micro16 kMicro16Avx2{kRows, tile, round_row, round_columns, transpose};

}  // namespace moxie::kernels
#endif
