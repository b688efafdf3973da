#pragma once
// Words turned and halves of words interleaved in registers, for whatever packs tiles with AVX-512.
#include <immintrin.h>

#include <cstdint>

namespace moxie::kernels {

// Word i of columns[j] = word j of rows[i].
[[gnu::target("avx512f"), gnu::always_inline]] inline void transpose_words(
    const __m512i (&rows)[16], __m512i (&columns)[16]) {
  __m512i pairs[16];
  for (int i = 0; i < 16; i += 2) {
    pairs[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
    pairs[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
  }
  __m512i fours[16];  // [4 g + c]: column c of each lane, rows 4 g .. 4 g + 3
  for (int g = 0; g < 4; ++g) {
    const __m512i* p = pairs + 4 * g;
    fours[4 * g] = _mm512_unpacklo_epi64(p[0], p[2]);
    fours[4 * g + 1] = _mm512_unpackhi_epi64(p[0], p[2]);
    fours[4 * g + 2] = _mm512_unpacklo_epi64(p[1], p[3]);
    fours[4 * g + 3] = _mm512_unpackhi_epi64(p[1], p[3]);
  }
  for (int c = 0; c < 4; ++c) {
    const __m512i a = _mm512_shuffle_i32x4(fours[c], fours[4 + c], 0x44);
    const __m512i b = _mm512_shuffle_i32x4(fours[8 + c], fours[12 + c], 0x44);
    const __m512i d = _mm512_shuffle_i32x4(fours[c], fours[4 + c], 0xEE);
    const __m512i e = _mm512_shuffle_i32x4(fours[8 + c], fours[12 + c], 0xEE);
    columns[c] = _mm512_shuffle_i32x4(a, b, 0x88);
    columns[4 + c] = _mm512_shuffle_i32x4(a, b, 0xDD);
    columns[8 + c] = _mm512_shuffle_i32x4(d, e, 0x88);
    columns[12 + c] = _mm512_shuffle_i32x4(d, e, 0xDD);
  }
}

// Number i of `even` beside number i of `odd`: of the first 16, then of the others.
struct WordPairs {
  __m512i low, high;
};
[[gnu::target("avx512f,avx512bw"), gnu::always_inline]] inline WordPairs interleave(__m512i even,
                                                                                    __m512i odd) {
  alignas(64) static constexpr uint16_t kLow[32] = {0,  32, 1,  33, 2,  34, 3,  35, 4,  36, 5,
                                                    37, 6,  38, 7,  39, 8,  40, 9,  41, 10, 42,
                                                    11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
  const __m512i low = _mm512_load_si512(kLow);
  const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
  return {_mm512_permutex2var_epi16(even, low, odd), _mm512_permutex2var_epi16(even, high, odd)};
}

}  // namespace moxie::kernels
