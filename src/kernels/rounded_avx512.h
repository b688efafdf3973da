#pragma once
// Numbers of f32 rounded to nearest even as bf16, with AVX-512: by the instruction of AVX-512 BF16,
// to which subnormals are 0, or where there is none in integers.
#include <immintrin.h>

#include "base/cpu.h"

namespace moxie::kernels {

#define MOXIE_ROUNDS [[gnu::target("avx512f,avx512bw,avx512bf16"), gnu::always_inline]] inline

// Each lane rounded in its upper half; what remains in the lower one has no meaning.
MOXIE_ROUNDS __m512i rounded_above(__m512 x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i is_odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i sum = _mm512_add_epi32(_mm512_add_epi32(bits, is_odd), _mm512_set1_epi32(0x7FFF));
  const __mmask16 is_none = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  return _mm512_mask_or_epi32(sum, is_none, bits, _mm512_set1_epi32(0x00400000));
}

// 16 numbers of low, then those of high.
MOXIE_ROUNDS __m512i rounded(__m512 low, __m512 high) {
  if (kHasAvx512BF16) return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low));
  const __m512i upper_words =
      _mm512_set_epi16(63, 61, 59, 57, 55, 53, 51, 49, 47, 45, 43, 41, 39, 37, 35, 33, 31, 29, 27,
                       25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
  return _mm512_permutex2var_epi16(rounded_above(low), upper_words, rounded_above(high));
}

// 16 numbers of each of two rows, as 16 pairs.
MOXIE_ROUNDS __m512i paired(__m512 even, __m512 odd) {
  if (!kHasAvx512BF16) {
    return _mm512_mask_blend_epi16(0xAAAAAAAA, _mm512_srli_epi32(rounded_above(even), 16),
                                   rounded_above(odd));
  }
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24,
                                         8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(order, rounded(even, odd));
}

#undef MOXIE_ROUNDS

}  // namespace moxie::kernels
