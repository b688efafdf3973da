#ifndef MOXIE_SCALAR_ONLY
#include <immintrin.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/integer_tile_avx2.h"
#include "kernels/micro.h"
#include "kernels/micro16.h"
#include "kernels/rounding_avx2.h"

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
  if (t.accumulate) {  // of many rows C is in L3
    for (int i = 0; i < kR; ++i) __builtin_prefetch(t.c + i * t.ldc, 1);
  }
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
  scale_sums(sums, t.a_scales, 1, t.b_scales, t.c, t.ldc, t.accumulate);
}

void tile(const Tile16& t) {
  run_tile<kRows>(t, []<int kR>(const Tile16& part) { full_tile<kR>(part); });
}

// Rounds k numbers to codes of at most `most`, the largest of them having these bits.
float round_with(const float* x, int64_t k, int32_t magnitude, int most, int16_t* codes) {
  const RoundingSteps steps = rounding_steps(magnitude, most);
  if (steps.inverse == 0) {
    std::fill_n(codes, (k + 1) / 2 * 2, int16_t{0});
    return steps.scale;
  }
  const int64_t whole = k / 16 * 16;
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

float round_row(const float* x, int64_t k, int most, int16_t* codes) {
  return round_with(x, k, largest_magnitude(x, k), most, codes);
}

float round_spread(const float* x, int64_t k, int16_t* codes) {
  const int64_t whole = k / kSpreadLanes * kSpreadLanes;
  __m256i top = _mm256_setzero_si256();
  __m256 sums[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
  for (int64_t p = 0; p < whole; p += kSpreadLanes) {
    for (int half = 0; half < 2; ++half) {
      const __m256i bits = bits_of_magnitude(_mm256_loadu_ps(x + p + 8 * half));
      top = _mm256_max_epi32(top, bits);
      sums[half] = _mm256_add_ps(sums[half], _mm256_castsi256_ps(bits));
    }
  }
  float lanes[kSpreadLanes];
  for (int half = 0; half < 2; ++half) _mm256_storeu_ps(lanes + 8 * half, sums[half]);
  int32_t magnitude = largest(top);
  for (int64_t p = whole; p < k; ++p) {
    lanes[p - whole] += std::fabs(x[p]);
    magnitude = std::max(magnitude, magnitude_bits(x[p]));
  }
  return round_with(x, k, magnitude, spread_codes(std::bit_cast<float>(magnitude), lanes), codes);
}

// The codes of two rows of eight columns side by side.
void round_columns(const float* x, int64_t ld, int64_t k, int n, int32_t* panel, float* scales) {
  by_eight_columns(x, ld, n, [&](const auto& read, int half) {
    int32_t* to = panel + half;
    const auto write = [&](const auto& codes) {
      for (int64_t p = 0; p + 1 < k; p += 2, to += kCols16) {
        store(to, _mm256_blend_epi16(codes(p), _mm256_slli_epi32(codes(p + 1), 16), 0xAA));
      }
      if (k % 2 == 1) store(to, _mm256_blend_epi16(codes(k - 1), _mm256_setzero_si256(), 0xAA));
    };
    _mm256_storeu_ps(scales + half, round_eight(read, k, kMost16, write));
  });
}

void transpose(int n, int64_t pairs, const int32_t* rows, int32_t* panel) {
  // It moves 32 bits whatever they mean.
  kMicroAvx2.transpose(n, pairs, reinterpret_cast<const float*>(rows), pairs,
                       reinterpret_cast<float*>(panel));
}

}  // namespace

const Micro16 kMicro16Avx2{kRows, tile, round_row, round_spread, round_columns, transpose};

}  // namespace moxie::kernels
#endif
