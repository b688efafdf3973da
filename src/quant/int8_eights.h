#pragma once
// Int8 products of a few rows of x with codes of 4 or 5 bits, for AVX2: eight rows of the weight at
// a time. Rows r and r + 4 share a register, and the sums of two registers are packed into 16 bits
// and added in pairs until each of eight lanes holds a row.
#include <cstdint>

#include "quant/int8_lanes.h"

namespace moxie::quant {

template <class F>
inline constexpr int64_t kRowsAtOnce =
    F::kBits <= 5 ? 8 : 4;  // by eights if 4 products fit 15 bits

}  // namespace moxie::quant

#ifndef MOXIE_SCALAR_ONLY
namespace moxie::quant::avx2 {

// Asks for the weight's next rows while these are read: for those of four steps later, into L2,
// since long rows leave L1 no room for them; of four at a time, which take longer, for those of two
// steps later, and into L1 if they are near.
template <class F>
class Ahead {
 public:
  MOXIE_INT8 explicit Ahead(const std::byte* const* rows) {
    constexpr int64_t kNear = 8 * 1024;
    const int64_t step = kRowsAtOnce<F> * (rows[1] - rows[0]);  // if they follow
    is_near_ = kRowsAtOnce<F> == 4 && 2 * step <= kNear;
    next_ = rows[0] + (is_near_ ? 2 : 4) * step;
  }
  // Of one more block of each row.
  MOXIE_INT8 void ask() {
    constexpr int kBytes = kRowsAtOnce<F> * F::kBytes;
    if (kRowsAtOnce<F> == 4 && is_near_) {
      for (int line = 0; line < kBytes; line += 64) _mm_prefetch(next_ + line, _MM_HINT_T0);
    } else {
      fetch_lines(next_, kBytes);
    }
    next_ += kBytes;
  }

 private:
  const std::byte* next_;
  bool is_near_;
};

// Sums of pairs of 16-bit lanes of a and of b, as 16 bits.
MOXIE_INT8 __m256i add_pairs(__m256i a, __m256i b) {
  const __m256i ones = _mm256_set1_epi16(1);
  return _mm256_packs_epi32(_mm256_madd_epi16(a, ones), _mm256_madd_epi16(b, ones));
}

// The codes of elements 0 .. 15 of a and of b, then those of elements 16 .. 31.
template <class F>
MOXIE_INT8 void codes_of_two(const std::byte* a, const std::byte* b, [[maybe_unused]] int group,
                             __m256i* low, __m256i* high) {
  if constexpr (requires { F::kNibblesAt; }) {
    split_nibbles(join(bytes16(a + F::kNibblesAt), bytes16(b + F::kNibblesAt)), low, high);
  } else {
    const __m256i first = F::codes_avx2(a, group);
    const __m256i second = F::codes_avx2(b, group);
    *low = _mm256_permute2x128_si256(first, second, 0x20);
    *high = _mm256_permute2x128_si256(first, second, 0x31);
  }
}

// Lane r: sum_i code_i q_i of row r, where low and high hold rows r and r + 4. Sixteen products
// with codes of 4 bits fit 16 bits, 16 x 15 x 127 < 2^15, and eight with codes of 5.
template <class F>
MOXIE_INT8 __m256i sums_of_eight(const __m256i* low, const __m256i* high, const int8_t* x) {
  const __m256i first = _mm256_broadcastsi128_si256(bytes16(reinterpret_cast<const std::byte*>(x)));
  const __m256i second =
      _mm256_broadcastsi128_si256(bytes16(reinterpret_cast<const std::byte*>(x + 16)));
  __m256i fours[4];
#pragma GCC unroll 4
  for (int r = 0; r < 4; ++r) {
    fours[r] = _mm256_add_epi16(_mm256_maddubs_epi16(low[r], first),
                                _mm256_maddubs_epi16(high[r], second));
  }
  const __m256i upper = add_pairs(fours[0], fours[1]);
  const __m256i lower = add_pairs(fours[2], fours[3]);
  const __m256i ones = _mm256_set1_epi16(1);
  if constexpr (F::kBits == 4) return _mm256_madd_epi16(add_pairs(upper, lower), ones);
  return _mm256_hadd_epi32(_mm256_madd_epi16(upper, ones), _mm256_madd_epi16(lower, ones));
}

// Eight rows of the weight with kX rows of x from row `first` on.
template <class F, int kX>
[[gnu::target("avx2,fma,f16c")]] inline void dots_of_eight(const std::byte* const* rows,
                                                           const Int8Rows& x, int64_t first,
                                                           __m256* acc) {
  constexpr int kGroups = F::kBlock / static_cast<int>(kInt8Group);
  const std::byte* at[8];
  for (int r = 0; r < 8; ++r) at[r] = rows[r];
  __m256 sums[kX];
  for (int i = 0; i < kX; ++i) sums[i] = _mm256_setzero_ps();
  Ahead<F> ahead(rows);
  for (int64_t b = 0; b < x.groups(); b += kGroups) {
    ahead.ask();
    const Factors<F> top(at), bottom(at + 4);
    const __m256 scales = join(top.scale, bottom.scale);
#pragma GCC unroll 8
    for (int g = 0; g < kGroups; ++g) {
      __m256i low[4], high[4];
      for (int r = 0; r < 4; ++r) codes_of_two<F>(at[r], at[r + 4], g, &low[r], &high[r]);
      __m256 minimum = _mm256_setzero_ps();
      if constexpr (F::kMinima != Minima::kNone) minimum = minima_of_eight<F>(top, bottom, g);
#pragma GCC unroll 4
      for (int i = 0; i < kX; ++i) {
        const int64_t group = (first + i) * x.groups() + b + g;
        __m256i total = sums_of_eight<F>(low, high, x.codes + group * kInt8Group);
        if constexpr (F::kOffset != 0) {
          const __m256i x_sum =
              _mm256_madd_epi16(_mm256_set1_epi32(x.halves[group]), _mm256_set1_epi16(F::kOffset));
          total = _mm256_sub_epi32(total, x_sum);
        }
        if constexpr (F::kMultipliers == Multipliers::kGroup) {
          total = _mm256_mullo_epi32(
              total, join(bytes_of_four(top.multipliers[g]), bytes_of_four(bottom.multipliers[g])));
        }
        const __m256 scale = _mm256_mul_ps(scales, _mm256_set1_ps(x.scales[group]));
        sums[i] = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(total), sums[i]);
        if constexpr (F::kMinima != Minima::kNone) {
          sums[i] = _mm256_fmadd_ps(minimum, _mm256_set1_ps(x.sums[group]), sums[i]);
        }
      }
    }
    for (auto& row : at) row += F::kBytes;
  }
  for (int i = 0; i < kX; ++i) acc[i] = sums[i];
}

}  // namespace moxie::quant::avx2
#endif
