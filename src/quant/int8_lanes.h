#pragma once
// What the int8 kernels share: what a codec states of itself, the factors of a block of four rows
// of a weight with a lane a row, and moves between lanes. AVX2, FMA and F16C.
#include <cstdint>

#include "quant/int8.h"
#include "quant/k_blocks.h"

namespace moxie::quant {

// What a codec says of itself; see int8_kernels.h.
enum class Minima { kNone, kBlock, kGroup };
enum class Multipliers { kNone, kGroup, kHalf };

inline constexpr int64_t kRowsPrepared = 256;  // of x, for which panels are filled once

}  // namespace moxie::quant

#ifndef MOXIE_SCALAR_ONLY
#include <cstddef>
#include <tuple>
#include <utility>

#include "kernels/scratch.h"
#include "quant/codec_avx2.h"

namespace moxie::quant {

// This thread's memory for as many of each as `counts` says, one kind after the other.
template <class... T, class... Count>
std::tuple<T*...> panel_memory(Count... counts) {
  const size_t bytes = (... + (static_cast<size_t>(counts) * sizeof(T)));
  auto* at = reinterpret_cast<std::byte*>(
      kernels::scratch(kernels::Scratch::kInt8Panels, bytes / sizeof(float)));
  const auto take = [&at](size_t size) { return std::exchange(at, at + size); };
  return {reinterpret_cast<T*>(take(static_cast<size_t>(counts) * sizeof(T)))...};
}

// What the thread's memory of rows of x holds that a kernel has prepared: those from `first` on, in
// one layout of them.
struct PreparedRows {
  uint64_t id = 0;
  int64_t first = 0;
  const char* layout = nullptr;
  bool operator==(const PreparedRows&) const = default;
};
PreparedRows& prepared_here();
template <class T, int kOffset>
inline constexpr char kLayout = 0;  // its address tells layouts apart

// That memory for `count` T, and whether the rows of x are there already: a thread takes many parts
// of the products with them. Else the caller prepares them.
template <class T, int kOffset = 0>
std::pair<T*, bool> prepared_rows(const Int8Rows& x, int64_t first, int64_t count) {
  auto* memory = kernels::scratch(kernels::Scratch::kInt8Prepared,
                                  static_cast<size_t>(count) * sizeof(T) / sizeof(float));
  const PreparedRows wanted{x.id, first, &kLayout<T, kOffset>};
  const bool is_there = x.id != 0 && prepared_here() == wanted;
  prepared_here() = wanted;
  return {reinterpret_cast<T*>(memory), is_there};
}

}  // namespace moxie::quant

#define MOXIE_INT8 [[gnu::target("avx2,fma,f16c"), gnu::always_inline]] inline

namespace moxie::quant::avx2 {

// 16-bit values of four rows as f32.
MOXIE_INT8 __m128 halves_of_four(const std::byte* const* rows, int at) {
  __m128i bits = _mm_cvtsi32_si128(load16(rows[0] + at));
  bits = _mm_insert_epi16(bits, load16(rows[1] + at), 1);
  bits = _mm_insert_epi16(bits, load16(rows[2] + at), 2);
  bits = _mm_insert_epi16(bits, load16(rows[3] + at), 3);
  return _mm_cvtph_ps(bits);
}

// Two adjacent 16-bit values of four rows: the first ones in the low half, then the second ones.
MOXIE_INT8 __m256 half_pairs_of_four(const std::byte* const* rows, int at) {
  const __m128i pairs = _mm_setr_epi32(load32(rows[0] + at), load32(rows[1] + at),
                                       load32(rows[2] + at), load32(rows[3] + at));
  const __m128i order = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
  return _mm256_cvtph_ps(_mm_shuffle_epi8(pairs, order));
}

// Lane r: the sum of all lanes of v[r].
MOXIE_INT8 __m128i totals_of_four(const __m256i* v) {
  const __m256i sums =
      _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
  return _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
}

// What the groups of one block of four rows have besides codes, a lane a row.
template <class F>
struct Factors {
  static constexpr int kGroups = F::kBlock / static_cast<int>(kInt8Group);
  __m128 scale, minimum;
  alignas(32) uint8_t multipliers[kGroups][4];  // of groups; minima likewise
  alignas(32) uint8_t minima[kGroups][4];
  alignas(32) int16_t halves[4][2 * kGroups];

  MOXIE_INT8 explicit Factors(const std::byte* const* rows) {
    if constexpr (F::kMinima == Minima::kNone) {
      scale = halves_of_four(rows, F::kScaleAt);
    } else {
      const __m256 both = half_pairs_of_four(rows, F::kScaleAt);
      scale = _mm256_castps256_ps128(both);
      minimum = _mm256_extractf128_ps(both, 1);
    }
    if constexpr (F::kMultipliers == Multipliers::kGroup) {
      __m128i packed[4];  // eight scales, then eight minima
      for (int r = 0; r < 4; ++r) packed[r] = scales_and_minima(rows[r] + F::kMultipliersAt);
      interleave(packed, &multipliers[0][0], &minima[0][0]);
    } else if constexpr (F::kMultipliers == Multipliers::kHalf) {
      for (int r = 0; r < 4; ++r) {
        const __m256i wide = _mm256_cvtepi8_epi16(bytes16(rows[r] + F::kMultipliersAt));
        _mm256_store_si256(reinterpret_cast<__m256i*>(halves[r]), wide);
      }
    }
  }

  // low[g][r] = packed[r][g], high[g][r] = packed[r][8 + g]
  MOXIE_INT8 static void interleave(const __m128i* packed, uint8_t* low, uint8_t* high) {
    const __m128i a = _mm_unpacklo_epi8(packed[0], packed[1]);
    const __m128i b = _mm_unpacklo_epi8(packed[2], packed[3]);
    const __m128i c = _mm_unpackhi_epi8(packed[0], packed[1]);
    const __m128i d = _mm_unpackhi_epi8(packed[2], packed[3]);
    put16(low, _mm_unpacklo_epi16(a, b));
    put16(low + 16, _mm_unpackhi_epi16(a, b));
    put16(high, _mm_unpacklo_epi16(c, d));
    put16(high + 16, _mm_unpackhi_epi16(c, d));
  }
  MOXIE_INT8 static void put16(uint8_t* to, __m128i value) {
    _mm_store_si128(reinterpret_cast<__m128i*>(to), value);
  }
};

MOXIE_INT8 __m128i bytes_of_four(const uint8_t* four) {  // as 32-bit integers
  return _mm_cvtepu8_epi32(_mm_cvtsi32_si128(load32(reinterpret_cast<const std::byte*>(four))));
}

MOXIE_INT8 void transpose8(const __m256i* rows, __m256i* out) {
  __m256i pairs[8];
  for (int i = 0; i < 8; i += 2) {
    pairs[i] = _mm256_unpacklo_epi32(rows[i], rows[i + 1]);
    pairs[i + 1] = _mm256_unpackhi_epi32(rows[i], rows[i + 1]);
  }
  __m256i fours[8];
  for (int i = 0; i < 8; i += 4) {
    fours[i] = _mm256_unpacklo_epi64(pairs[i], pairs[i + 2]);
    fours[i + 1] = _mm256_unpackhi_epi64(pairs[i], pairs[i + 2]);
    fours[i + 2] = _mm256_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
    fours[i + 3] = _mm256_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    out[i] = _mm256_permute2x128_si256(fours[i], fours[i + 4], 0x20);
    out[i + 4] = _mm256_permute2x128_si256(fours[i], fours[i + 4], 0x31);
  }
}

// out[k]: word k of each row, where a register holds four words of one row and of the fourth after
// it.
MOXIE_INT8 void transpose4(const __m256i* rows, __m256i* out) {
  const __m256i a = _mm256_unpacklo_epi32(rows[0], rows[1]);
  const __m256i b = _mm256_unpacklo_epi32(rows[2], rows[3]);
  const __m256i c = _mm256_unpackhi_epi32(rows[0], rows[1]);
  const __m256i d = _mm256_unpackhi_epi32(rows[2], rows[3]);
  out[0] = _mm256_unpacklo_epi64(a, b);
  out[1] = _mm256_unpackhi_epi64(a, b);
  out[2] = _mm256_unpacklo_epi64(c, d);
  out[3] = _mm256_unpackhi_epi64(c, d);
}

MOXIE_INT8 __m256 join(__m128 low, __m128 high) {
  return _mm256_insertf128_ps(_mm256_castps128_ps256(low), high, 1);
}
MOXIE_INT8 __m256i join(__m128i low, __m128i high) {
  return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}

// The multipliers of four rows for both halves of group g, each as a pair of 16 bits.
template <class F>
MOXIE_INT8 void multiplier_pairs(const Factors<F>& factors, int g, __m128i* halves) {
  if constexpr (F::kMultipliers == Multipliers::kGroup) {
    const __m128i value = bytes_of_four(factors.multipliers[g]);
    halves[0] = halves[1] = _mm_or_si128(value, _mm_slli_epi32(value, 16));
  } else if constexpr (F::kMultipliers == Multipliers::kHalf) {
    const __m128i both =
        _mm_setr_epi32(load32(reinterpret_cast<const std::byte*>(factors.halves[0] + 2 * g)),
                       load32(reinterpret_cast<const std::byte*>(factors.halves[1] + 2 * g)),
                       load32(reinterpret_cast<const std::byte*>(factors.halves[2] + 2 * g)),
                       load32(reinterpret_cast<const std::byte*>(factors.halves[3] + 2 * g)));
    const __m128i low = _mm_setr_epi8(0, 1, 0, 1, 4, 5, 4, 5, 8, 9, 8, 9, 12, 13, 12, 13);
    halves[0] = _mm_shuffle_epi8(both, low);
    halves[1] = _mm_shuffle_epi8(both, _mm_add_epi8(low, _mm_set1_epi8(2)));
  } else {
    halves[0] = halves[1] = _mm_set1_epi16(1);
  }
}

// The minima of eight rows in group g, where a codec has any.
template <class F>
MOXIE_INT8 __m256 minima_of_eight(const Factors<F>& low, const Factors<F>& high, int g) {
  const __m256 minima = join(low.minimum, high.minimum);
  if constexpr (F::kMinima == Minima::kGroup) {
    const __m256i times = join(bytes_of_four(low.minima[g]), bytes_of_four(high.minima[g]));
    return _mm256_xor_ps(_mm256_mul_ps(minima, _mm256_cvtepi32_ps(times)), _mm256_set1_ps(-0.0f));
  }
  return minima;
}

// Bytes of two codes of 4 bits: the low ones and the high ones.
MOXIE_INT8 void split_nibbles(__m256i both, __m256i* low, __m256i* high) {
  *low = _mm256_and_si256(both, _mm256_set1_epi8(15));
  *high = _mm256_and_si256(_mm256_srli_epi16(both, 4), _mm256_set1_epi8(15));
}

MOXIE_INT8 __m256i four_codes(const int8_t* x) {
  return _mm256_set1_epi32(load32(reinterpret_cast<const std::byte*>(x)));
}

// Writes the first `count` of eight lanes.
MOXIE_INT8 void put_eight(float* y, int64_t count, bool accumulate, __m256 acc) {
  if (count >= 8) {
    const __m256 before = accumulate ? _mm256_loadu_ps(y) : _mm256_setzero_ps();
    return _mm256_storeu_ps(y, _mm256_add_ps(before, acc));
  }
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), lanes);
  const __m256 before = accumulate ? _mm256_maskload_ps(y, mask) : _mm256_setzero_ps();
  _mm256_maskstore_ps(y, mask, _mm256_add_ps(before, acc));
}

}  // namespace moxie::quant::avx2
#endif
