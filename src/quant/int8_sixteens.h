#pragma once
// Sixteen rows of a weight at a time, for AVX-512 with VNNI: int8 products of a few rows of x with
// codes of 4 or 5 bits, a lane of the sum a row; and codes as tiles (kernels/micro_tiles.h).
// Register j of the codes holds 16 elements of rows j, 4 + j, 8 + j and 12 + j, or 32 of two rows;
// products are added by fours, and the fours of all rows in one transposition.
#include <cstdint>

#include "quant/int8_lanes.h"

namespace moxie::quant {

// Codes of more bits come faster from memory by four rows than by sixteen.
template <class F>
inline constexpr bool kTakesSixteens = F::kBits <= 5;

}  // namespace moxie::quant

#ifndef MOXIE_SCALAR_ONLY
#define MOXIE_SIXTEENS_TARGET "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"
#define MOXIE_SIXTEENS [[gnu::target(MOXIE_SIXTEENS_TARGET), gnu::always_inline]] inline

namespace moxie::quant::sixteens {

inline constexpr int64_t kRows = 16;

inline constexpr int64_t kRowsAhead = 2 * kRows;  // of the weight: what is asked for early

MOXIE_SIXTEENS __m512i join(__m256i low, __m256i high) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}
MOXIE_SIXTEENS __m512i join(__m128i a, __m128i b, __m128i c, __m128i d) {
  return join(avx2::join(a, b), avx2::join(c, d));
}

// Row r of sixteen that stand `stride` apart.
struct Rows {
  const std::byte* low;   // row 0
  const std::byte* high;  // row 8
  int64_t stride;
  MOXIE_SIXTEENS const std::byte* operator()(int r) const {
    return (r < 8 ? low : high) + (r % 8) * stride;
  }
  MOXIE_SIXTEENS void advance(int64_t bytes) {
    low += bytes;
    high += bytes;
  }
};

// 16 bytes of rows j, 4 + j, 8 + j and 12 + j.
MOXIE_SIXTEENS __m512i bytes_of_four(const Rows& at, int j, int offset) {
  return join(avx2::bytes16(at(j) + offset), avx2::bytes16(at(4 + j) + offset),
              avx2::bytes16(at(8 + j) + offset), avx2::bytes16(at(12 + j) + offset));
}

// The first eight bytes of a block of each row: in quarter q of heads[i] those of rows 4 q + 2 i
// and 4 q + 2 i + 1.
MOXIE_SIXTEENS __m128i two_heads(const std::byte* a, const std::byte* b) {
  const __m128d low = _mm_load_sd(reinterpret_cast<const double*>(a));
  return _mm_castpd_si128(_mm_loadh_pd(low, reinterpret_cast<const double*>(b)));
}
MOXIE_SIXTEENS void load_heads(const Rows& at, __m512i* heads) {
  for (int i = 0; i < 2; ++i) {
    __m128i quarters[4];
    for (int q = 0; q < 4; ++q) {
      const int r = 4 * q + 2 * i;
      quarters[q] = two_heads(at(r), at(r + 1));
    }
    heads[i] = join(quarters[0], quarters[1], quarters[2], quarters[3]);
  }
}

// 16 bits of each head, from byte 2 * word on, as f32.
MOXIE_SIXTEENS __m512 halves_of_heads(const __m512i* heads, int word) {
  const __m512i places = _mm512_castsi256_si512(
      _mm256_setr_epi16(0, 4, 32, 36, 8, 12, 40, 44, 16, 20, 48, 52, 24, 28, 56, 60));
  const __m512i at = _mm512_add_epi16(places, _mm512_set1_epi16(static_cast<int16_t>(word)));
  return _mm512_cvtph_ps(_mm512_castsi512_si256(_mm512_permutex2var_epi16(heads[0], at, heads[1])));
}

// Adds 16 to the codes of register j whose bit is set among the 16 bits of their heads from
// `byte` on.
MOXIE_SIXTEENS __m512i with_fifths(__m512i codes, const __m512i* heads, int j, int byte) {
  const __m128i eights = _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
  const __m128i place = _mm_add_epi8(eights, _mm_set1_epi8(static_cast<char>(j % 2 * 8 + byte)));
  const __m512i bits = _mm512_shuffle_epi8(heads[j / 2], _mm512_broadcast_i32x4(place));
  const __mmask64 is_set =
      _mm512_test_epi8_mask(bits, _mm512_set1_epi64(static_cast<int64_t>(0x8040201008040201)));
  return _mm512_mask_add_epi8(codes, is_set, codes, _mm512_set1_epi8(16));
}

// Quarter q, lane j of out[k]: word k of quarter q of v[j].
MOXIE_SIXTEENS void transpose_quarters(const __m512i* v, __m512i* out) {
  const __m512i a = _mm512_unpacklo_epi32(v[0], v[1]);
  const __m512i b = _mm512_unpacklo_epi32(v[2], v[3]);
  const __m512i c = _mm512_unpackhi_epi32(v[0], v[1]);
  const __m512i d = _mm512_unpackhi_epi32(v[2], v[3]);
  out[0] = _mm512_unpacklo_epi64(a, b);
  out[1] = _mm512_unpackhi_epi64(a, b);
  out[2] = _mm512_unpacklo_epi64(c, d);
  out[3] = _mm512_unpackhi_epi64(c, d);
}

// Word k of 16 bytes of each row, in words[k].
MOXIE_SIXTEENS void load_words(const Rows& at, int offset, __m512i* words) {
  __m512i rows[4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) rows[j] = bytes_of_four(at, j, offset);
  transpose_quarters(rows, words);
}

MOXIE_SIXTEENS __m512i masked(__m512i a, uint32_t mask) {
  return _mm512_and_si512(a, _mm512_set1_epi32(static_cast<int>(mask)));
}

// The lower or upper 16 bits of words as f32.
MOXIE_SIXTEENS __m512 low_halves(__m512i words) {
  return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(words));
}
MOXIE_SIXTEENS __m512 high_halves(__m512i words) {
  return low_halves(_mm512_srli_epi32(words, 16));
}

// What a block of sixteen rows has besides codes.
template <class F>
struct Block {
  __m512 scale, minimum;
  __m512i heads[2];
  __m512i multipliers[2], minima[2];  // of groups 4 i .. 4 i + 3, a byte each, and a word a row

  MOXIE_SIXTEENS explicit Block(const Rows& at) {
    static_assert(F::kScaleAt == 0);
    if constexpr (F::kMultipliers == Multipliers::kGroup) {
      static_assert(F::kMultipliersAt == 4 && F::kMinima == Minima::kGroup);
      __m512i words[4];
      load_words(at, 0, words);
      scale = low_halves(words[0]);
      minimum = high_halves(words[0]);
      unpack(words + 1);
    } else {
      load_heads(at, heads);
      scale = halves_of_heads(heads, 0);
      if constexpr (F::kMinima == Minima::kBlock) minimum = halves_of_heads(heads, 1);
    }
  }
  // scale_minimum of k_blocks.h, for all groups.
  MOXIE_SIXTEENS void unpack(const __m512i* words) {
    multipliers[0] = masked(words[0], 0x3F3F3F3F);
    multipliers[1] = _mm512_or_si512(masked(words[2], 0x0F0F0F0F),
                                     masked(_mm512_srli_epi32(words[0], 2), 0x30303030));
    minima[0] = masked(words[1], 0x3F3F3F3F);
    minima[1] = _mm512_or_si512(masked(_mm512_srli_epi32(words[2], 4), 0x0F0F0F0F),
                                masked(_mm512_srli_epi32(words[1], 2), 0x30303030));
  }
  MOXIE_SIXTEENS static __m512i of_group(const __m512i* fours, int g) {
    return masked(_mm512_srli_epi32(fours[g / 4], static_cast<unsigned>(g % 4 * 8)), 0xFF);
  }
  MOXIE_SIXTEENS __m512 minimum_of(int g) const {
    if constexpr (F::kMinima == Minima::kBlock) return minimum;
    const __m512 times = _mm512_cvtepi32_ps(of_group(minima, g));
    return _mm512_xor_ps(_mm512_mul_ps(minimum, times), _mm512_set1_ps(-0.0f));
  }
};

// All of a block but its factors are 16 bytes of nibbles.
template <class F>
inline constexpr bool kIsNibbles = requires {
  F::kNibblesAt;
};

// Where 16 bytes of nibbles stand in a block that has no others; -1: it is not such a one.
template <class F>
constexpr int nibbles_at() {
  if constexpr (kIsNibbles<F>) {
    return F::kNibblesAt;
  } else if constexpr (requires { F::kFifthsAt; }) {
    return F::kFifthsAt + 4;
  }
  return -1;
}
template <class F>
inline constexpr bool kBySixteens = nibbles_at<F>() >= 0;

// Bytes of two codes of 4 bits: the low ones and the high ones.
MOXIE_SIXTEENS void split_nibbles(__m512i both, __m512i* low, __m512i* high) {
  const __m512i ones = _mm512_set1_epi8(15);
  *low = _mm512_and_si512(both, ones);
  *high = _mm512_and_si512(_mm512_srli_epi16(both, 4), ones);
}

// The codes of a group: elements 0 .. 15 in the first four registers and 16 .. 31 in the others, or
// all elements of rows j and 4 + j in register j and of rows 8 + j and 12 + j in register 4 + j.
template <class F>
MOXIE_SIXTEENS void load_codes(const Rows& at, int g, const Block<F>& block, __m512i* codes) {
  if constexpr (kBySixteens<F>) {
    for (int j = 0; j < 4; ++j) {
      split_nibbles(bytes_of_four(at, j, nibbles_at<F>()), &codes[j], &codes[4 + j]);
      if constexpr (requires { F::kFifthsAt; }) {
        codes[j] = with_fifths(codes[j], block.heads, j, F::kFifthsAt);
        codes[4 + j] = with_fifths(codes[4 + j], block.heads, j, F::kFifthsAt + 2);
      }
    }
  } else {
    for (int j = 0; j < 8; ++j) {
      const int r = j / 4 * 8 + j % 4;
      codes[j] = join(F::codes_avx2(at(r), g), F::codes_avx2(at(r + 4), g));
    }
  }
}

// The codes of load_codes by elements: 4 k .. 4 k + 3 of row r in word r of fours[k].
template <class F>
MOXIE_SIXTEENS void fours_of(const __m512i* codes, __m512i* fours) {
  __m512i words[8];
  transpose_quarters(codes, words);
  transpose_quarters(codes + 4, words + 4);
  for (int k = 0; k < 4; ++k) {
    if constexpr (kBySixteens<F>) {
      fours[k] = words[k];
      fours[4 + k] = words[4 + k];
    } else {
      fours[k] = _mm512_shuffle_i32x4(words[k], words[4 + k], 0x88);
      fours[4 + k] = _mm512_shuffle_i32x4(words[k], words[4 + k], 0xDD);
    }
  }
}

// The same of group g as it stands; nibbles are turned before they are told apart.
template <class F>
MOXIE_SIXTEENS void load_fours(const Rows& at, int g, const Block<F>& block, __m512i* fours) {
  if constexpr (kIsNibbles<F>) {
    __m512i words[4];
    load_words(at, F::kNibblesAt, words);
    for (int k = 0; k < 4; ++k) split_nibbles(words[k], &fours[k], &fours[4 + k]);
  } else {
    __m512i codes[8];
    load_codes<F>(at, g, block, codes);
    fours_of<F>(codes, fours);
  }
}

// Quarter q, lane j: the sum of quarter q of v[j].
MOXIE_SIXTEENS __m512i totals_of_four(const __m512i* v) {
  const __m512i a =
      _mm512_add_epi32(_mm512_unpacklo_epi32(v[0], v[1]), _mm512_unpackhi_epi32(v[0], v[1]));
  const __m512i b =
      _mm512_add_epi32(_mm512_unpacklo_epi32(v[2], v[3]), _mm512_unpackhi_epi32(v[2], v[3]));
  return _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}

// Lane r: sum_i code_i q_i of row r.
template <class F>
MOXIE_SIXTEENS __m512i sums(const __m512i* codes, const int8_t* x) {
  const auto* bytes = reinterpret_cast<const std::byte*>(x);
  const __m512i zero = _mm512_setzero_si512();
  __m512i fours[8];
  if constexpr (kBySixteens<F>) {
    const __m512i first = _mm512_broadcast_i32x4(avx2::bytes16(bytes));
    const __m512i second = _mm512_broadcast_i32x4(avx2::bytes16(bytes + 16));
    for (int j = 0; j < 4; ++j) {
      fours[j] =
          _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(zero, codes[j], first), codes[4 + j], second);
    }
    return totals_of_four(fours);
  } else {
    const __m512i all = _mm512_broadcast_i64x4(avx2::bytes32(bytes));
    for (int j = 0; j < 8; ++j) fours[j] = _mm512_dpbusd_epi32(zero, codes[j], all);
    const __m512i a = totals_of_four(fours), b = totals_of_four(fours + 4);
    return _mm512_add_epi32(_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xDD));
  }
}

// Lane r: sum_i multiplier (code_i - offset) q_i of row r; `halves` are the sums of the q's.
template <class F>
MOXIE_SIXTEENS __m512i integers(const __m512i* codes, const Block<F>& block, int g, const int8_t* x,
                                int32_t halves) {
  __m512i sum = sums<F>(codes, x);
  if constexpr (F::kOffset != 0) {
    const __m512i taken =
        _mm512_madd_epi16(_mm512_set1_epi32(halves), _mm512_set1_epi16(F::kOffset));
    sum = _mm512_sub_epi32(sum, taken);
  }
  if constexpr (F::kMultipliers == Multipliers::kGroup)
    sum = _mm512_mullo_epi32(sum, block.of_group(block.multipliers, g));
  return sum;
}

// Sixteen rows of the weight with kX rows of x from row `first` on.
template <class F, int kX>
MOXIE_SIXTEENS void dots(Rows at, const Int8Rows& x, int64_t first, __m512* acc) {
  constexpr int kGroups = F::kBlock / static_cast<int>(kInt8Group);
  constexpr int kPart = kRows * F::kBytes / kGroups;  // bytes a group
  for (int i = 0; i < kX; ++i) acc[i] = _mm512_setzero_ps();
  const std::byte* next = at.low + kRowsAhead * at.stride;
  for (int64_t b = 0; b < x.groups(); b += kGroups) {
    const Block<F> block(at);
#pragma GCC unroll 8
    for (int g = 0; g < kGroups; ++g, next += kPart) {
      fetch_lines(next, kPart);
      __m512i codes[8];
      load_codes<F>(at, g, block, codes);
#pragma GCC unroll 4
      for (int i = 0; i < kX; ++i) {
        const int64_t group = (first + i) * x.groups() + b + g;
        const __m512i sum =
            integers<F>(codes, block, g, x.codes + group * kInt8Group, x.halves[group]);
        const __m512 scale = _mm512_mul_ps(block.scale, _mm512_set1_ps(x.scales[group]));
        acc[i] = _mm512_fmadd_ps(scale, _mm512_cvtepi32_ps(sum), acc[i]);
        if constexpr (F::kMinima != Minima::kNone)
          acc[i] = _mm512_fmadd_ps(block.minimum_of(g), _mm512_set1_ps(x.sums[group]), acc[i]);
      }
    }
    at.advance(F::kBytes);
  }
}

// y (+)= sixteen sums.
MOXIE_SIXTEENS void put_sums(float* y, bool accumulate, __m512 sums) {
  const __m512 before = accumulate ? _mm512_loadu_ps(y) : _mm512_setzero_ps();
  _mm512_storeu_ps(y, _mm512_add_ps(before, sums));
}

template <class F, int kX>
MOXIE_SIXTEENS void put_dots(const Int8Product& p, int64_t r, int64_t first) {
  const std::byte* row = p.weight + r * p.stride;
  __m512 acc[kX];
  dots<F, kX>({row, row + 8 * p.stride, p.stride}, p.x, first, acc);
  for (int i = 0; i < kX; ++i) put_sums(p.y + (first + i) * p.ld + r, p.accumulate, acc[i]);
}

}  // namespace moxie::quant::sixteens

namespace moxie::quant {

// Groups [begin, end) of sixteen rows as tiles, two apart: int8.h.
template <class F>
[[gnu::target(MOXIE_SIXTEENS_TARGET)]] void pack_avx512(const std::byte* rows, int64_t stride,
                                                        int64_t begin, int64_t end,
                                                        kernels::Int8TileB* tiles) {
  constexpr int kGroups = F::kBlock / static_cast<int>(kInt8Group);
  const __m512i shift = _mm512_set1_epi8(static_cast<char>(128 - F::kOffset));
  const std::byte* first = rows + begin / kGroups * F::kBytes;
  const std::byte* next = first + sixteens::kRowsAhead * stride;
  sixteens::Rows at{first, first + 8 * stride, stride};
  for (int64_t b = begin; b < end; b += kGroups) {
    fetch_lines(next, sixteens::kRows * F::kBytes);
    next += sixteens::kRows * F::kBytes;
    const sixteens::Block<F> block(at);
#pragma GCC unroll 8
    for (int g = 0; g < kGroups; ++g, tiles += 2) {
      __m512i fours[8];
      sixteens::load_fours<F>(at, g, block, fours);
      for (int k = 0; k < 8; ++k)
        _mm512_storeu_si512(tiles->codes[k], _mm512_add_epi8(fours[k], shift));
      __m512 scale = block.scale;
      if constexpr (F::kMultipliers == Multipliers::kGroup)
        scale = _mm512_mul_ps(scale, _mm512_cvtepi32_ps(block.of_group(block.multipliers, g)));
      _mm512_storeu_ps(tiles->scales, scale);
      if constexpr (F::kMinima != Minima::kNone)
        _mm512_storeu_ps(tiles->minima, block.minimum_of(g));
      tiles->ends_block = 1;
      tiles->has_minima = F::kMinima != Minima::kNone ? 1 : 0;
      tiles->is_half = 0;
    }
    at.advance(F::kBytes);
  }
}

// Rows [begin, end), sixteen at a time; returns where fewer are left.
template <class F>
[[gnu::target(MOXIE_SIXTEENS_TARGET)]] int64_t dots_avx512(const Int8Product& p, int64_t begin,
                                                           int64_t end) {
  for (; begin + sixteens::kRows <= end; begin += sixteens::kRows) {
    int64_t i = 0;
    for (; i + 4 <= p.x.count; i += 4) sixteens::put_dots<F, 4>(p, begin, i);
    for (; i + 2 <= p.x.count; i += 2) sixteens::put_dots<F, 2>(p, begin, i);
    if (i < p.x.count) sixteens::put_dots<F, 1>(p, begin, i);
  }
  return begin;
}

}  // namespace moxie::quant
#endif
