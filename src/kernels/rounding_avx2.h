#pragma once
// rounding.h for eight numbers at a time: for files compiled for AVX2.
#include <immintrin.h>

#include "kernels/rounding.h"

namespace moxie::kernels {

static inline __m256i bits_of_magnitude(__m256 x) {
  return _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(0x7FFFFFFF));
}

static inline int32_t largest(__m256i lanes) {
  __m128i top = _mm_max_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
  top = _mm_max_epi32(top, _mm_shuffle_epi32(top, 0x4E));
  top = _mm_max_epi32(top, _mm_shuffle_epi32(top, 0xB1));
  return _mm_cvtsi128_si32(top);
}

// magnitude_bits() of the largest of k numbers.
static inline int32_t largest_magnitude(const float* x, int64_t k) {
  const int64_t whole = k / 16 * 16;
  __m256i top = _mm256_setzero_si256();
  for (int64_t p = 0; p < whole; p += 16) {
    top = _mm256_max_epi32(top, bits_of_magnitude(_mm256_loadu_ps(x + p)));
    top = _mm256_max_epi32(top, bits_of_magnitude(_mm256_loadu_ps(x + p + 8)));
  }
  int32_t magnitude = largest(top);
  for (int64_t p = whole; p < k; ++p) magnitude = std::max(magnitude, magnitude_bits(x[p]));
  return magnitude;
}

// rounding_steps() of eight columns.
struct ColumnSteps {
  __m256 scales, inverses;
};
static inline ColumnSteps column_steps(__m256i magnitudes, int most) {
  const auto codes = static_cast<float>(most);
  const __m256 top = _mm256_castsi256_ps(magnitudes);
  const __m256 unit = _mm256_set1_ps(codes);
  const __m256 none = _mm256_castsi256_ps(
      _mm256_cmpgt_epi32(magnitudes, _mm256_set1_epi32(0x7F7FFFFF)));  // infinite or no number
  const __m256 small = _mm256_cmp_ps(top, _mm256_set1_ps((codes + 1) * 0x1.0p-126f), _CMP_LT_OQ);
  const __m256 nan = _mm256_castsi256_ps(_mm256_set1_epi32(0x7FC00000));
  const __m256 scales = _mm256_andnot_ps(small, _mm256_div_ps(top, unit));
  return {_mm256_blendv_ps(scales, nan, none),
          _mm256_andnot_ps(_mm256_or_ps(small, none), _mm256_div_ps(unit, top))};
}

// Of eight columns of k rows that read(p) gives: calls write(code), where code(p) are their codes
// of at most `most` in row p, and returns their scales.
template <class Read, class Write>
static inline __m256 round_eight(const Read& read, int64_t k, int most, const Write& write) {
  __m256i magnitudes = _mm256_setzero_si256();
  for (int64_t p = 0; p < k; ++p)
    magnitudes = _mm256_max_epi32(magnitudes, bits_of_magnitude(read(p)));
  const ColumnSteps steps = column_steps(magnitudes, most);
  const __m256 inverse = steps.inverses;
  const __m256 is_used = _mm256_cmp_ps(inverse, _mm256_setzero_ps(), _CMP_NEQ_OQ);
  if (_mm256_movemask_ps(is_used) == 0xFF) {
    write([&](int64_t p) { return _mm256_cvtps_epi32(_mm256_mul_ps(read(p), inverse)); });
  } else {
    // A column that holds no numbers has an inverse of 0, and 0 times them would be no code.
    write([&](int64_t p) {
      return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_and_ps(read(p), is_used), inverse));
    });
  }
  return steps.scales;
}

// Calls of(read, half) for the two halves of up to 16 columns x[p * ld + j], j < n, where read(p)
// is row p, with 0 beyond n.
template <class Of>
static inline void by_eight_columns(const float* x, int64_t ld, int n, const Of& of) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  for (int half = 0; half < 16; half += 8) {
    const float* columns = x + half;
    if (n - half >= 8) {
      of([&](int64_t p) { return _mm256_loadu_ps(columns + p * ld); }, half);
      continue;
    }
    const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(n - half), lane);
    of([&](int64_t p) { return _mm256_maskload_ps(columns + p * ld, mask); }, half);
  }
}

}  // namespace moxie::kernels
