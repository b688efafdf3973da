#pragma once
// Int8 products of a few rows of x (decoding), for AVX2, straight from the weight's bytes: eight
// rows at a time (int8_eights.h), or four where codes have more than 5 bits, one lane of the sum
// each, so that x is loaded once for all of them.
#include <cstdint>

#include "quant/int8_eights.h"
#include "quant/int8_lanes.h"

#ifndef MOXIE_SCALAR_ONLY
namespace moxie::quant::avx2 {

// Sums of pairs of (code - offset) x: with codes of 6 and 8 bits the sign goes to x, since products
// of the codes themselves would not fit.
template <class F>
MOXIE_INT8 __m256i products(__m256i codes, __m256i x) {
  const __m256i signed_codes =
      _mm256_sub_epi8(codes, _mm256_set1_epi8(static_cast<char>(F::kOffset)));
  return _mm256_maddubs_epi16(_mm256_abs_epi8(signed_codes), _mm256_sign_epi8(x, signed_codes));
}

// Group g of the block: lane r gets sum_i multiplier (code_i - offset) q_i of row r.
template <class F>
MOXIE_INT8 __m128i integers_of_four(const Factors<F>& factors, const __m256i* codes, int g,
                                    const int8_t* x) {
  const __m256i q = bytes32(reinterpret_cast<const std::byte*>(x));
  __m256i sums[4];
  for (int r = 0; r < 4; ++r) {
    __m256i multiplier = _mm256_set1_epi16(1);
    if constexpr (F::kMultipliers == Multipliers::kHalf) {
      const int pair = load32(reinterpret_cast<const std::byte*>(factors.halves[r] + 2 * g));
      const __m256i spread = _mm256_setr_epi8(0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1,  //
                                              2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3);
      multiplier = _mm256_shuffle_epi8(_mm256_set1_epi32(pair), spread);
    }
    sums[r] = _mm256_madd_epi16(products<F>(codes[r], q), multiplier);
  }
  return totals_of_four(sums);
}

// Four rows of the weight with kX rows of x from row `first` on.
template <class F, int kX>
[[gnu::target("avx2,fma,f16c")]] inline void dots_of_four(const std::byte* const* rows,
                                                          const Int8Rows& x, int64_t first,
                                                          __m128* acc) {
  static_assert(F::kMinima == Minima::kNone && F::kMultipliers != Multipliers::kGroup);
  constexpr int kGroups = F::kBlock / static_cast<int>(kInt8Group);
  const std::byte* at[4] = {rows[0], rows[1], rows[2], rows[3]};
  __m128 sums[kX];
  for (int i = 0; i < kX; ++i) sums[i] = _mm_setzero_ps();
  Ahead<F> ahead(rows);
  for (int64_t b = 0; b < x.groups(); b += kGroups) {
    ahead.ask();
    const Factors<F> factors(at);
#pragma GCC unroll 8
    for (int g = 0; g < kGroups; ++g) {
      __m256i codes[4];
      for (int r = 0; r < 4; ++r) codes[r] = F::codes_avx2(at[r], g);
#pragma GCC unroll 4
      for (int i = 0; i < kX; ++i) {
        const int64_t group = (first + i) * x.groups() + b + g;
        const __m128i total = integers_of_four<F>(factors, codes, g, x.codes + group * kInt8Group);
        const __m128 scale = _mm_mul_ps(factors.scale, _mm_set1_ps(x.scales[group]));
        sums[i] = _mm_fmadd_ps(scale, _mm_cvtepi32_ps(total), sums[i]);
      }
    }
    for (auto& row : at) row += F::kBytes;
  }
  for (int i = 0; i < kX; ++i) acc[i] = sums[i];
}

// Writes `count` of the four lanes.
MOXIE_INT8 void put_four(const Int8Product& p, int64_t row, int64_t count, int64_t i, __m128 acc) {
  float* y = p.y + i * p.ld + row;
  float values[4];
  _mm_storeu_ps(values, acc);
  for (int64_t r = 0; r < count; ++r) y[r] = (p.accumulate ? y[r] : 0.0f) + values[r];
}

// Rows [r, r + count) of the weight, at most as many as one step takes, with kX rows of x.
template <class F, int kX>
MOXIE_INT8 void put_dots(const Int8Product& p, int64_t r, int64_t count, int64_t first) {
  constexpr int64_t kStep = kRowsAtOnce<F>;
  const std::byte* rows[kStep];
  for (int64_t k = 0; k < kStep; ++k) rows[k] = p.weight + (r + (k < count ? k : 0)) * p.stride;
  if constexpr (kStep == 8) {
    __m256 acc[kX];
    dots_of_eight<F, kX>(rows, p.x, first, acc);
    for (int i = 0; i < kX; ++i)
      put_eight(p.y + (first + i) * p.ld + r, count, p.accumulate, acc[i]);
  } else {
    __m128 acc[kX];
    dots_of_four<F, kX>(rows, p.x, first, acc);
    for (int i = 0; i < kX; ++i) put_four(p, r, count, first + i, acc[i]);
  }
}

}  // namespace moxie::quant::avx2

namespace moxie::quant {

// Four rows of the weight, or eight, meet all rows of x while they are in the cache.
template <class F>
[[gnu::target("avx2,fma,f16c")]] void dots_avx2(const Int8Product& p, int64_t begin, int64_t end) {
  constexpr int64_t kStep = kRowsAtOnce<F>;
  for (int64_t r = begin; r < end; r += kStep) {
    const int64_t count = end - r < kStep ? end - r : kStep;
    int64_t i = 0;
    for (; i + 4 <= p.x.count; i += 4) avx2::put_dots<F, 4>(p, r, count, i);
    for (; i + 2 <= p.x.count; i += 2) avx2::put_dots<F, 2>(p, r, count, i);
    for (; i < p.x.count; ++i) avx2::put_dots<F, 1>(p, r, count, i);
  }
}

}  // namespace moxie::quant
#endif
