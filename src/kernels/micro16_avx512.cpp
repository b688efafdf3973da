#ifndef MOXIE_SCALAR_ONLY
#include <immintrin.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/int8_tiles_avx512.h"
#include "kernels/integer_tile_avx2.h"
#include "kernels/micro16.h"
#include "kernels/pair_products.h"
#include "kernels/rounding.h"

namespace moxie::kernels {
namespace {

// The register tile is 16 x 16: a pair of rows of B meets each pair of A by one VPDPWSSD of AVX-512
// VNNI, 32 multiply-adds.
constexpr int kRows = 16;

template <int kR>
void full_tile(const Tile16& t) {
  __m512i sums[kR];
#pragma GCC unroll 16
  for (int i = 0; i < kR; ++i) sums[i] = _mm512_setzero_si512();
  const int32_t* b = t.b;
  const int64_t row = t.a_row;
  const int32_t* a[] = {t.a, t.a + 4 * row, t.a + 8 * row, t.a + 12 * row};
  for (int64_t p = 0; p < t.pairs; ++p, b += kCols16) {
    const __m512i pairs = _mm512_loadu_si512(b);
#pragma GCC unroll 16
    for (int i = 0; i < kR; ++i) add_products(a[i / 4] + i % 4 * row, pairs, sums[i]);
    for (const int32_t*& four : a) four += t.a_step;
  }
  const __mmask16 mask = first_lanes(t.n);
  const __m512 scales = _mm512_loadu_ps(t.b_scales);
#pragma GCC unroll 16
  for (int i = 0; i < kR; ++i) {
    float* c = t.c + i * t.ldc;
    const __m512 scale = _mm512_mul_ps(_mm512_set1_ps(t.a_scales[i]), scales);
    const __m512 before = t.accumulate ? _mm512_maskz_loadu_ps(mask, c) : _mm512_setzero_ps();
    _mm512_mask_storeu_ps(c, mask, _mm512_fmadd_ps(scale, _mm512_cvtepi32_ps(sums[i]), before));
  }
}

void tile(const Tile16& t) {
  run_rows<kRows>(t, []<int kR>(const Tile16& part) { full_tile<kR>(part); });
}

// Rounds k numbers to codes of at most `most`, the largest of them having these bits.
float round_with(const float* x, int64_t k, int32_t magnitude, int most, int16_t* codes) {
  const RoundingSteps steps = rounding_steps(magnitude, most);
  if (steps.inverse == 0) {
    std::fill_n(codes, (k + 1) / 2 * 2, int16_t{0});
    return steps.scale;
  }
  const __m512i order = _mm512_set_epi64(7, 5, 3, 1, 6, 4, 2, 0);
  const __m512 inverse = _mm512_set1_ps(steps.inverse);
  for (int64_t p = 0; p < k; p += 32) {
    const __mmask16 first = first_lanes(k - p);
    const __mmask16 second = first_lanes(k - p - 16);
    const __m512 low = _mm512_mul_ps(_mm512_maskz_loadu_ps(first, x + p), inverse);
    const __m512 high = _mm512_mul_ps(_mm512_maskz_loadu_ps(second, x + p + 16), inverse);
    const __m512i packed = _mm512_permutexvar_epi64(
        order, _mm512_packs_epi32(_mm512_cvtps_epi32(low), _mm512_cvtps_epi32(high)));
    const int64_t count = (k + 1) / 2 * 2 - p;
    _mm512_mask_storeu_epi16(codes + p, count >= 32 ? ~0u : (1u << count) - 1, packed);
  }
  return steps.scale;
}

float round_row(const float* x, int64_t k, int most, int16_t* codes) {
  __m512i top = _mm512_setzero_si512();
  for (int64_t p = 0; p < k; p += 16)
    top = _mm512_max_epi32(top, magnitudes(_mm512_maskz_loadu_ps(first_lanes(k - p), x + p)));
  return round_with(x, k, _mm512_reduce_max_epi32(top), most, codes);
}

float round_spread(const float* x, int64_t k, int16_t* codes) {
  __m512i top = _mm512_setzero_si512();
  __m512 sums = _mm512_setzero_ps();
  for (int64_t p = 0; p < k; p += 16) {
    const __m512i bits = magnitudes(_mm512_maskz_loadu_ps(first_lanes(k - p), x + p));
    top = _mm512_max_epi32(top, bits);
    sums = _mm512_add_ps(sums, _mm512_castsi512_ps(bits));
  }
  float lanes[kSpreadLanes];
  _mm512_storeu_ps(lanes, sums);
  const int32_t magnitude = _mm512_reduce_max_epi32(top);
  return round_with(x, k, magnitude, spread_codes(std::bit_cast<float>(magnitude), lanes), codes);
}

// The codes of two rows side by side.
void round_columns(const float* x, int64_t ld, int64_t k, int n, int32_t* panel, float* scales) {
  const __mmask16 mask = first_lanes(n);
  __m512i most = _mm512_setzero_si512();
  for (int64_t p = 0; p < k; ++p)
    most = _mm512_max_epi32(most, magnitudes(_mm512_maskz_loadu_ps(mask, x + p * ld)));
  const Steps steps = steps_of(most, kMost16);
  _mm512_storeu_ps(scales, steps.scales);
  const __mmask16 is_used = mask & steps.used;  // 0 times what is no number would be no code
  const auto codes = [&](int64_t p) {
    return _mm512_cvtps_epi32(
        _mm512_mul_ps(_mm512_maskz_loadu_ps(is_used, x + p * ld), steps.inverses));
  };
  for (int64_t p = 0; p < k; p += 2, panel += kCols16) {
    const __m512i odd = p + 1 < k ? _mm512_slli_epi32(codes(p + 1), 16) : _mm512_setzero_si512();
    _mm512_storeu_si512(panel, _mm512_mask_blend_epi16(0xAAAAAAAA, codes(p), odd));
  }
}

void transpose(int n, int64_t pairs, const int32_t* rows, int32_t* panel) {
  for (int64_t p = 0; p < pairs; p += 16) {
    const int64_t count = std::min<int64_t>(16, pairs - p);
    __m512i from[16], to[16];
    for (int i = 0; i < 16; ++i) {
      const auto mask = static_cast<__mmask16>(i < n ? first_lanes(count) : 0);
      from[i] = _mm512_maskz_loadu_epi32(mask, rows + i * pairs + p);
    }
    transpose_words(from, to);
    for (int64_t i = 0; i < count; ++i) _mm512_storeu_si512(panel + (p + i) * kCols16, to[i]);
  }
}

}  // namespace

const Micro16 kMicro16Avx512{kRows, tile, round_row, round_spread, round_columns, transpose};

}  // namespace moxie::kernels
#endif
