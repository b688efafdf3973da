#pragma once
// Rounding of sixteen lines at a time to integers, and to tiles of 8-bit ones (micro_tiles.h), for
// sources that are compiled for AVX-512 VNNI. Everything has internal linkage, as in micro_impl.h.
#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "kernels/micro_tiles_avx512.h"

namespace moxie::kernels {
namespace {

// rounding_steps() of 16 lines by the bits of their largest magnitudes, to codes of at most `most`.
struct Steps {
  __m512 scales, inverses;
  __mmask16 used;  // the others' codes are 0: infinite, no numbers or too small
};
inline Steps steps_of(__m512i magnitudes, int most = 127) {
  const auto codes = static_cast<float>(most);
  const __m512 top = _mm512_castsi512_ps(magnitudes);
  const __m512 unit = _mm512_set1_ps(codes);
  const __mmask16 none = _mm512_cmpge_epi32_mask(magnitudes, _mm512_set1_epi32(0x7F800000));
  const __mmask16 small =
      _mm512_cmp_ps_mask(top, _mm512_set1_ps((codes + 1) * 0x1.0p-126f), _CMP_LT_OQ);
  const auto used = static_cast<__mmask16>(~(none | small));
  const __m512 scales = _mm512_maskz_div_ps(used, top, unit);
  const __m512 nan = _mm512_castsi512_ps(_mm512_set1_epi32(0x7FC00000));
  return {_mm512_mask_mov_ps(scales, none, nan), _mm512_maskz_div_ps(used, unit, top), used};
}

inline __m512i magnitudes(__m512 x) {
  return _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7FFFFFFF));
}

// Lane i: the largest lane of v[i].
inline __m512i largest_of(const __m512i (&v)[16]) {
  const auto join = [](__m512i a, __m512i b) { return _mm512_max_epi32(a, b); };
  __m512i fours[4];  // lane 4 l + r: lane l of 128 bits of row 4 f + r
  for (int f = 0; f < 4; ++f) {
    const __m512i* r = v + 4 * f;
    const __m512i low = join(_mm512_unpacklo_epi32(r[0], r[1]), _mm512_unpackhi_epi32(r[0], r[1]));
    const __m512i high = join(_mm512_unpacklo_epi32(r[2], r[3]), _mm512_unpackhi_epi32(r[2], r[3]));
    fours[f] = join(_mm512_unpacklo_epi64(low, high), _mm512_unpackhi_epi64(low, high));
  }
  __m512i eights[2];
  for (int e = 0; e < 2; ++e) {
    const __m512i a = fours[2 * e], b = fours[2 * e + 1];
    eights[e] = join(_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xDD));
  }
  return join(_mm512_shuffle_i32x4(eights[0], eights[1], 0x88),
              _mm512_shuffle_i32x4(eights[0], eights[1], 0xDD));
}

inline __m512 widened(__m256i halves) {  // of bf16
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}
inline __m512 load16(const float* src) {
  return _mm512_loadu_ps(src);
}
inline __m512 load16(const BFloat16* src) {
  return widened(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(src)));
}
inline __m512 load16(const float* src, __mmask16 mask) {
  return _mm512_maskz_loadu_ps(mask, src);
}
inline __m512 load16(const BFloat16* src, __mmask16 mask) {
  return widened(_mm256_maskz_loadu_epi16(mask, src));
}

// Magnitudes of bf16 are found two in a word; those of its first numbers and of its second.
inline __m512i larger_magnitudes(__m512i most, __m512i pairs) {
  return _mm512_max_epu16(most, _mm512_and_si512(pairs, _mm512_set1_epi16(0x7FFF)));
}
inline __m512i even_magnitudes(__m512i most) {
  return _mm512_castps_si512(evens(most));
}
inline __m512i odd_magnitudes(__m512i most) {
  return _mm512_castps_si512(odds(most));
}

inline void store_starts(__m512i sums, Int8TileA& tile) {
  _mm512_storeu_si512(tile.starts,
                      _mm512_slli_epi32(_mm512_sub_epi32(_mm512_setzero_si512(), sums), 7));
}
inline void store_factors(__m512 scales, __m512i sums, Int8TileA& tile) {
  _mm512_storeu_ps(tile.scales, scales);
  store_starts(sums, tile);
  _mm512_storeu_ps(tile.sums, _mm512_mul_ps(scales, _mm512_cvtepi32_ps(sums)));
}

// The low bytes of four registers, side by side.
inline __m512i fours_of(const __m512i* codes) {
  const __m512i low =
      _mm512_mask_blend_epi16(0xAAAAAAAA, codes[0], _mm512_slli_epi32(codes[2], 16));
  const __m512i high =
      _mm512_mask_blend_epi16(0xAAAAAAAA, codes[1], _mm512_slli_epi32(codes[3], 16));
  return _mm512_mask_blend_epi8(0xAAAAAAAAAAAAAAAAu, low, _mm512_slli_epi16(high, 8));
}

// `left`: numbers of the block from the tile's first on.
inline void store_b(const __m512i* fours, __m512 scales, int64_t left, Int8TileB& tile) {
  for (int q = 0; q < 8; ++q) {
    _mm512_storeu_si512(tile.codes[q],
                        _mm512_xor_si512(fours[q], _mm512_set1_epi8(static_cast<char>(0x80))));
  }
  _mm512_storeu_ps(tile.scales, scales);
  tile.ends_block = left <= kTileDepth ? 1 : 0;
  tile.has_minima = 0;
  tile.is_half = left <= kTileDepth / 2 ? 1 : 0;
}

// Returns the sums of the lines' codes.
inline __m512i store_a(const __m512i* fours, __m512 scales, Int8TileA& tile) {
  __m512i sums = _mm512_setzero_si512();
  __m512i rows[16];  // the fours, then nothing
  for (int q = 0; q < 8; ++q) {
    sums = _mm512_dpbusd_epi32(sums, _mm512_set1_epi8(1), fours[q]);
    rows[q] = fours[q];
    rows[8 + q] = _mm512_setzero_si512();
  }
  __m512i lines[16];
  transpose_words(rows, lines);
  for (int i = 0; i < 16; ++i) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(tile.codes[i]),
                        _mm512_castsi512_si256(lines[i]));
  }
  store_factors(scales, sums, tile);
  return sums;
}

// Codes of two lines as packing leaves them: in quarter l of a register elements 4 l .. 4 l + 3 of
// both lines' numbers and 16 + 4 l .. 16 + 4 l + 3 of these, the first line's words before the
// second's.
inline __m512i pack_two(__m512i low, __m512i high, __m512i next_low, __m512i next_high) {
  return _mm512_packs_epi16(_mm512_packs_epi32(low, high), _mm512_packs_epi32(next_low, next_high));
}

// Words 0 and 2, or 1 and 3, of each quarter of a and then of b.
template <int kWords>
__m512i words_of(__m512i a, __m512i b) {
  return _mm512_castps_si512(
      _mm512_shuffle_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), kWords));
}
constexpr int kEven = 0x88, kOdd = 0xDD;

// Lane i: the sum of line i's codes, of eight such pairs of lines.
inline __m512i sums_of(const __m512i (&pairs)[8]) {
  __m512i fours[4];  // in each quarter part of the sums of four lines
  for (int m = 0; m < 4; ++m) {
    const auto sum = [&](int i) {
      return _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1), pairs[2 * m + i]);
    };
    const __m512i a = sum(0), b = sum(1);
    fours[m] = _mm512_add_epi32(words_of<kEven>(a, b), words_of<kOdd>(a, b));
  }
  const auto add_quarters = [](__m512i a, __m512i b) {
    return _mm512_add_epi32(_mm512_shuffle_i32x4(a, b, kEven), _mm512_shuffle_i32x4(a, b, kOdd));
  };
  return add_quarters(add_quarters(fours[0], fours[1]), add_quarters(fours[2], fours[3]));
}

inline void store_lines(const __m512i (&pairs)[8], Int8TileA& tile) {
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  for (int j = 0; j < 8; ++j)
    _mm512_storeu_si512(tile.codes[2 * j], _mm512_permutexvar_epi32(order, pairs[j]));
}

// fours[q]: codes 4 q .. 4 q + 3 of all lines.
inline void turn_lines(const __m512i (&pairs)[8], __m512i (&fours)[8]) {
  const auto turn_half = [&](auto words, __m512i* out) {
    __m512i v[4];  // in quarter q of v[m] word q of lines 4 m .. 4 m + 3
    for (int m = 0; m < 4; ++m) v[m] = words_of<words()>(pairs[2 * m], pairs[2 * m + 1]);
    const __m512i a = _mm512_shuffle_i32x4(v[0], v[1], 0x44);
    const __m512i b = _mm512_shuffle_i32x4(v[2], v[3], 0x44);
    const __m512i c = _mm512_shuffle_i32x4(v[0], v[1], 0xEE);
    const __m512i d = _mm512_shuffle_i32x4(v[2], v[3], 0xEE);
    out[0] = _mm512_shuffle_i32x4(a, b, kEven);
    out[1] = _mm512_shuffle_i32x4(a, b, kOdd);
    out[2] = _mm512_shuffle_i32x4(c, d, kEven);
    out[3] = _mm512_shuffle_i32x4(c, d, kOdd);
  };
  turn_half(std::integral_constant<int, kEven>{}, fours);
  turn_half(std::integral_constant<int, kOdd>{}, fours + 4);
}

struct Span {  // a block's numbers along k
  int64_t begin, end;
};
// Where the tile of a band stands that holds numbers from p on of its first 16 lines, or the
// others.
inline BFloat16* tile_at(BFloat16* band, int64_t p, bool is_second) {
  return band + (p / kTileDepth * 2 + (is_second ? 1 : 0)) * tile_size(Tiles::kInt8);
}
inline Int8TileA& tile_of_a(BFloat16* band, int64_t p, bool is_second) {
  return *reinterpret_cast<Int8TileA*>(tile_at(band, p, is_second));
}
inline Int8TileB& tile_of_b(BFloat16* band, int64_t p, bool is_second) {
  return *reinterpret_cast<Int8TileB*>(tile_at(band, p, is_second));
}
template <class F>
void for_blocks(int64_t k, Side side, F f) {
  const int64_t block = side == Side::kA ? kTileDepth : kInt8Block;
  for (int64_t p = 0; p < k; p += block) f(Span{p, std::min(k, p + block)});
}

// Lanes the largest of which is that of line i's magnitudes in a block.
template <class Read>
inline __m512i largest_in(const Read& read, int i, Span span) {
  if constexpr (requires { read.largest(i, span); }) {
    return read.largest(i, span);
  } else {
    __m512 low, high;
    __m512i most = _mm512_setzero_si512();
    for (int64_t p = span.begin; p < span.end; p += kTileDepth) {
      read(i, p, low, high);
      most = _mm512_max_epi32(most, _mm512_max_epi32(magnitudes(low), magnitudes(high)));
    }
    return most;
  }
}

// Sixteen lines of a block, of which read(i, p, low, high) gives 32 numbers of line i.
template <class Read>
void along_block(const Read& read, Span span, Side side, bool is_second, BFloat16* band) {
  __m512 low, high;
  __m512i most[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) most[i] = largest_in(read, i, span);
  const Steps steps = steps_of(largest_of(most));
  const bool are_all_used = steps.used == 0xFFFF;
  alignas(64) float inverses[16];
  _mm512_store_ps(inverses, steps.inverses);
  __m512i all = _mm512_setzero_si512();
  for (int64_t p = span.begin; p < span.end; p += kTileDepth) {
    const auto round = [&](int i, __m512i& first, __m512i& second) {
      read(i, p, low, high);
      const __m512 inverse = _mm512_set1_ps(inverses[i]);
      first = _mm512_cvtps_epi32(_mm512_mul_ps(low, inverse));
      second = _mm512_cvtps_epi32(_mm512_mul_ps(high, inverse));
      if (!are_all_used && (steps.used >> i & 1) == 0) first = second = _mm512_setzero_si512();
    };
    __m512i pairs[8];
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
      __m512i codes[4];
      round(2 * j, codes[0], codes[1]);
      round(2 * j + 1, codes[2], codes[3]);
      pairs[j] = pack_two(codes[0], codes[1], codes[2], codes[3]);
    }
    if (side != Side::kB) {
      Int8TileA& a = tile_of_a(band, p, is_second);
      const __m512i sums = sums_of(pairs);
      all = _mm512_add_epi32(all, sums);
      store_lines(pairs, a);
      store_factors(steps.scales, sums, a);
      continue;
    }
    __m512i fours[8];
    turn_lines(pairs, fours);
    store_b(fours, steps.scales, span.end - p, tile_of_b(band, p, is_second));
  }
  if (side == Side::kWideA) store_starts(all, tile_of_a(band, span.begin, is_second));
}

// Sixteen lines of a block, of which read(p) gives number p of all.
template <class Read>
void across_block(const Read& read, Span span, Side side, bool is_second, BFloat16* band) {
  __m512i most = _mm512_setzero_si512();
  for (int64_t p = span.begin; p < span.end; ++p)
    most = _mm512_max_epi32(most, magnitudes(read(p)));
  const Steps steps = steps_of(most);
  __m512i all = _mm512_setzero_si512();
  for (int64_t at = span.begin; at < span.end; at += kTileDepth) {
    __m512i fours[8];
    for (int64_t q = 0; q < 8; ++q) {
      __m512i codes[4];
      for (int64_t i = 0; i < 4; ++i) {
        const int64_t p = at + 4 * q + i;
        const __m512 numbers = p < span.end ? read(p) : _mm512_setzero_ps();
        codes[i] = _mm512_maskz_cvtps_epi32(steps.used, _mm512_mul_ps(numbers, steps.inverses));
      }
      fours[q] = fours_of(codes);
    }
    if (side != Side::kB) {
      all = _mm512_add_epi32(all, store_a(fours, steps.scales, tile_of_a(band, at, is_second)));
    } else {
      store_b(fours, steps.scales, span.end - at, tile_of_b(band, at, is_second));
    }
  }
  if (side == Side::kWideA) store_starts(all, tile_of_a(band, span.begin, is_second));
}

}  // namespace
}  // namespace moxie::kernels
