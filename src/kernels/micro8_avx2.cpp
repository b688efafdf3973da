#ifndef MOXIE_SCALAR_ONLY
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "kernels/integer_tile_avx2.h"
#include "kernels/micro8.h"
#include "kernels/rounding_avx2.h"

namespace moxie::kernels {
namespace {

// The register tile is 6 x 16: 12 of the 16 registers hold sums.
constexpr int kRows = 6;

__m256i load(const void* from) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(from));
}

__m256i four(const uint8_t* codes) {
  int32_t word;
  std::memcpy(&word, codes, 4);
  return _mm256_set1_epi32(word);
}

template <int kR>
void full_tile(const Tile8& t) {
  const __m256i ones = _mm256_set1_epi16(1);
  for (int i = 0; i < kR; ++i) __builtin_prefetch(t.c + i * t.ldc, 1);
  for (int64_t block = 0; block < t.blocks; ++block) {
    const int8_t* b = t.b + block * block8_bytes(t.depth);
    const int64_t depth = block + 1 < t.blocks ? t.depth : t.last_depth;
    const auto* ends = reinterpret_cast<const Block8*>(b + depth * kCols8);
    const uint8_t* a = t.a + block * t.depth;
    __m256i sums[kR][2];
#pragma GCC unroll 16
    for (int i = 0; i < kR; ++i) {
      sums[i][0] = load(ends->starts);
      sums[i][1] = load(ends->starts + 8);
    }
    for (int64_t p = 0; p < depth; p += kStep8, a += kStep8, b += kStep8 * kCols8) {
#pragma GCC unroll 16
      for (int i = 0; i < kR; ++i) {
        const __m256i x = four(a + i * t.a_row);
        const __m256i y = four(a + i * t.a_row + 4);
#pragma GCC unroll 2
        for (int v = 0; v < 2; ++v) {
          const __m256i pairs =
              _mm256_add_epi16(_mm256_maddubs_epi16(x, load(b + 32 * v)),
                               _mm256_maddubs_epi16(y, load(b + 4 * kCols8 + 32 * v)));
          sums[i][v] = _mm256_add_epi32(sums[i][v], _mm256_madd_epi16(pairs, ones));
        }
      }
    }
    scale_sums(sums, t.a_scales + block, t.scales_row, ends->scales, t.c, t.ldc,
               t.accumulate || block > 0);
  }
}

void tile(const Tile8& t) {
  run_tile<kRows>(t, []<int kR>(const Tile8& part) { full_tile<kR>(part); });
}

// Codes of at most kMost, stored with kZero added.
template <int kMost, int kZero>
float round(const float* x, int64_t k, uint8_t* codes) {
  const RoundingSteps steps = rounding_steps(largest_magnitude(x, k), kMost);
  const int64_t padded = (k + kStep8 - 1) / kStep8 * kStep8;
  if (steps.inverse == 0) {
    std::fill_n(codes, padded, static_cast<uint8_t>(kZero));
    return steps.scale;
  }
  const __m256 inverse = _mm256_set1_ps(steps.inverse);
  const __m256i zero = _mm256_set1_epi8(kZero);
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  const auto eight = [&](const float* at) {
    return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(at), inverse));
  };
  int64_t p = 0;
  for (; p + 32 <= k; p += 32) {
    const __m256i low = _mm256_packs_epi32(eight(x + p), eight(x + p + 8));
    const __m256i high = _mm256_packs_epi32(eight(x + p + 16), eight(x + p + 24));
    const __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes + p), _mm256_add_epi8(bytes, zero));
  }
  for (; p < k; ++p)
    codes[p] = static_cast<uint8_t>(kZero + _mm_cvtss_si32(_mm_set_ss(x[p] * steps.inverse)));
  std::fill(codes + k, codes + padded, static_cast<uint8_t>(kZero));
  return steps.scale;
}

void round_columns(const float* x, int64_t ld, int64_t k, int n, int64_t depth, int8_t* block) {
  auto* ends = reinterpret_cast<Block8*>(block + depth * kCols8);
  by_eight_columns(x, ld, n, [&](const auto& read, int half) {
    int8_t* to = block + 4 * half;
    __m256i sums = _mm256_setzero_si256();
    const auto write = [&](const auto& codes) {
      // The codes of four rows of a column side by side.
      const auto put = [&](__m256i c0, __m256i c1, __m256i c2, __m256i c3) {
        sums = _mm256_add_epi32(
            sums, _mm256_add_epi32(_mm256_add_epi32(c0, c1), _mm256_add_epi32(c2, c3)));
        const __m256i even = _mm256_blend_epi16(c0, _mm256_slli_epi32(c2, 16), 0xAA);
        const __m256i odd = _mm256_blend_epi16(c1, _mm256_slli_epi32(c3, 16), 0xAA);
        const __m256i low = _mm256_and_si256(even, _mm256_set1_epi16(0xFF));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to),
                            _mm256_or_si256(low, _mm256_slli_epi16(odd, 8)));
        to += 4 * kCols8;
      };
      const __m256i none = _mm256_setzero_si256();
      int64_t p = 0;
      for (; p + 4 <= k; p += 4) put(codes(p), codes(p + 1), codes(p + 2), codes(p + 3));
      if (p < k)
        put(codes(p), p + 1 < k ? codes(p + 1) : none, p + 2 < k ? codes(p + 2) : none, none);
      for (p += p < k ? 4 : 0; p < depth; p += 4) put(none, none, none, none);
    };
    _mm256_storeu_ps(ends->scales + half, round_eight(read, k, kMostB8, write));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(ends->starts + half),
                        _mm256_mullo_epi32(sums, _mm256_set1_epi32(-kMostA8)));
  });
}

}  // namespace

const Micro8 kMicro8Avx2{kRows, tile, round<kMostA8, kMostA8>, round<kMostPositive8, 0>,
                         round_columns};

}  // namespace moxie::kernels
#endif
