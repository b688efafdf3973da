#pragma once
// Packing for both tables of AVX-512, included once by each source that is compiled for it.
// Everything has internal linkage, as in micro_impl.h.
#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels/micro_tiles.h"
#include "kernels/rounded_avx512.h"
#include "kernels/transpose_avx512.h"

namespace moxie::kernels {
namespace {

inline __mmask16 first_lanes(int64_t count) {
  return static_cast<__mmask16>(count >= 16 ? 0xFFFF : (1 << std::max<int64_t>(count, 0)) - 1);
}

// Four bytes in all lanes.
inline __m512i four_bytes(const void* at) {
  int32_t four;
  std::memcpy(&four, at, sizeof(four));
  return _mm512_set1_epi32(four);
}

// Of pairs of bf16 the first of each and the second, as f32.
inline __m512 evens(__m512i pairs) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
}
inline __m512 odds(__m512i pairs) {
  return _mm512_castsi512_ps(
      _mm512_and_si512(pairs, _mm512_set1_epi32(static_cast<int>(0xFFFF0000))));
}

// 32 numbers, of which those of the mask are read, as bf16.
inline __m512i load32(const float* src, __mmask32 mask) {
  const __m512 low = _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), src);
  const __m512 high = _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask >> 16), src + 16);
  return rounded(low, high);
}
inline __m512i load32(const BFloat16* src, __mmask32 mask) {
  return _mm512_maskz_loadu_epi16(mask, src);
}

// 16 numbers of each of two rows, as 16 pairs.
inline __m512i load_pairs(const float* first, const float* second, __mmask16 low, __mmask16 high) {
  const __m512 even = _mm512_maskz_loadu_ps(low, first);
  const __m512 odd = _mm512_maskz_loadu_ps(high, second);
  return paired(even, odd);
}
inline __m512i load_pairs(const BFloat16* first, const BFloat16* second, __mmask16 low,
                          __mmask16 high) {
  const __m512i even = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(low, first));
  const __m512i odd = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(high, second));
  return _mm512_or_si512(even, _mm512_slli_epi32(odd, 16));
}

inline void store(const __m512i (&rows)[16], BFloat16* to) {
  for (int i = 0; i < 16; ++i) _mm512_storeu_si512(to + 32 * i, rows[i]);
}
inline void store_transposed(const __m512i (&rows)[16], BFloat16* to) {
  __m512i columns[16];
  transpose_words(rows, columns);
  store(columns, to);
}

// The two halves of a band.
template <class T>
void along(const T* src, int64_t ld, int64_t lines, int64_t k, Side side, BFloat16* band) {
  for (int64_t first = 0; first < lines; first += kLines, src += kLines * ld, band += kTileSize) {
    BFloat16* tile = band;
    for (int64_t p = 0; p < k; p += kTileDepth, tile += 2 * kTileSize) {
      const __mmask32 mask = k - p >= kTileDepth ? ~0u : (1u << (k - p)) - 1;
      __m512i rows[16];
      for (int i = 0; i < 16; ++i) {
        rows[i] = first + i < lines ? load32(src + i * ld + p, mask) : _mm512_setzero_si512();
      }
      side == Side::kA ? store(rows, tile) : store_transposed(rows, tile);
    }
  }
}

// Asks for the lines of the next band that stand beside these: of as many short streams as rows the
// CPU's prefetchers see little.
template <class T>
inline void fetch_next_band(const T* lines) {
  __builtin_prefetch(lines + kBandLines, 0, 2);
}

template <class T>
void across_half(const T* src, int64_t ld, int64_t lines, int64_t k, Side side, BFloat16* tile) {
  const auto mask = static_cast<__mmask16>((1u << lines) - 1);
  for (int64_t p = 0; p < k; p += kTileDepth, tile += 2 * kTileSize) {
    __m512i pairs[16];
    for (int64_t i = 0; i < 16; ++i) {
      const int64_t at = p + 2 * i;
      fetch_next_band(src + at * ld);
      fetch_next_band(src + (at + 1) * ld);
      const auto low = static_cast<__mmask16>(at < k ? mask : 0);
      const auto high = static_cast<__mmask16>(at + 1 < k ? mask : 0);
      pairs[i] = load_pairs(src + at * ld, src + (at + 1) * ld, low, high);
    }
    side == Side::kB ? store(pairs, tile) : store_transposed(pairs, tile);
  }
}

template <class T>
void across(const T* src, int64_t ld, int64_t lines, int64_t k, Side side, BFloat16* band) {
  across_half(src, ld, std::min(lines, kLines), k, side, band);
  if (lines > kLines) {
    across_half(src + kLines, ld, lines - kLines, k, side, band + kTileSize);
  }
}

// Pair q of the numbers of B is lines 2 q and 2 q + 1 of A, word by word: the first 16 numbers of
// both go to B's first tile, the others to its second.
inline void turn(const BFloat16* a, BFloat16* b) {
  for (int q = 0; q < 16; ++q, a += 2 * kTileDepth, b += 2 * kLines) {
    const WordPairs pairs = interleave(_mm512_loadu_si512(a), _mm512_loadu_si512(a + kTileDepth));
    _mm512_storeu_si512(b, pairs.low);
    _mm512_storeu_si512(b + kTileSize, pairs.high);
  }
}

// 16 numbers of a line, from number `at` on.
inline __m512 numbers_of(const Int8TileA& tile, int64_t line, int64_t at) {
  const auto* codes = reinterpret_cast<const __m128i*>(tile.codes[line] + at);
  return _mm512_mul_ps(_mm512_set1_ps(tile.scales[line]),
                       _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(codes))));
}

// Rows of c as they stand in the [32, 32] sums of a block.
inline void load_sums(const TileBlock& t, float* sums) {
  for (int64_t i = 0; i < t.rows; ++i) std::copy_n(t.c + i * t.ldc, t.cols, sums + 32 * i);
}

// c (+)= alpha sums for the rows and columns that a block has.
inline void store_sums(const TileBlock& t, const float* sums, int64_t rows, float* c, bool adds) {
  for (int64_t j = 0; j < t.cols; j += 16) {
    const __mmask16 mask = first_lanes(t.cols - j);
    for (int64_t i = 0; i < rows; ++i) {
      float* out = c + i * t.ldc + j;
      const __m512 before = adds ? _mm512_maskz_loadu_ps(mask, out) : _mm512_setzero_ps();
      const __m512 sum = _mm512_loadu_ps(sums + 32 * i + j);
      _mm512_mask_storeu_ps(out, mask, _mm512_fmadd_ps(_mm512_set1_ps(t.alpha), sum, before));
    }
  }
}

// Asks for rows of c that are written later.
template <int kR, int kB>
inline void fetch_sums(const TileBlock& t, int from) {
  for (int i = 0; i < kR && from + i < t.rows; ++i) {
    for (int j = 0; j < kB; ++j) __builtin_prefetch(t.c + (from + i) * t.ldc + 16 * j, 1);
  }
}

// The same of rows from `from` on whose sums are in registers.
template <int kR, int kB>
inline void put_sums(const TileBlock& t, int from, const __m512 (&sums)[kR][kB]) {
  float* c = t.c + from * t.ldc;
  if (t.rows - from < kR || t.cols != 16 * kB) {
    alignas(64) float out[32 * kR];
    for (int i = 0; i < kR; ++i) {
      for (int j = 0; j < kB; ++j) _mm512_store_ps(out + 32 * i + 16 * j, sums[i][j]);
    }
    return store_sums(t, out, std::min<int64_t>(kR, t.rows - from), c, t.accumulate);
  }
  const __m512 alpha = _mm512_set1_ps(t.alpha);
  const auto put = [&](auto before) {
#pragma GCC unroll 8
    for (int i = 0; i < kR; ++i) {
#pragma GCC unroll 2
      for (int j = 0; j < kB; ++j) {
        float* to = c + i * t.ldc + 16 * j;
        _mm512_storeu_ps(to, _mm512_fmadd_ps(alpha, sums[i][j], before(to)));
      }
    }
  };
  if (t.accumulate) {
    put([](const float* to) { return _mm512_loadu_ps(to); });
  } else {
    put([](const float*) { return _mm512_setzero_ps(); });
  }
}

}  // namespace
}  // namespace moxie::kernels
