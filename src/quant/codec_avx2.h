#pragma once
// Pieces of the decoders written by hand for AVX2 and F16C. A codec that has
//   MOXIE_AVX2 static void decode_block_avx2(const std::byte* src, float* dst);
// runs it instead of decode_block where the CPU can; the values have the same bits.
#ifndef MOXIE_SCALAR_ONLY
#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#define MOXIE_AVX2 [[gnu::target("avx2,f16c"), gnu::always_inline]] inline

namespace moxie::quant::avx2 {

MOXIE_AVX2 __m256 half(const std::byte* src) {  // an f16, in all lanes
  const int bits =
      *reinterpret_cast<const uint8_t*>(src) | *reinterpret_cast<const uint8_t*>(src + 1) << 8;
  return _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(bits)));
}

// n f16 values, n a multiple of 8.
[[gnu::target("avx2,f16c")]] inline void halves(const std::byte* src, float* dst, int64_t n) {
  for (int64_t i = 0; i < n; i += 8) {
    const auto* at = reinterpret_cast<const __m128i*>(src + 2 * i);
    _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(_mm_loadu_si128(at)));
  }
}

MOXIE_AVX2 __m256 times(__m256 d, int scale) {
  return _mm256_mul_ps(d, _mm256_set1_ps(static_cast<float>(scale)));
}

MOXIE_AVX2 __m128i bytes16(const std::byte* src) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(src));
}

MOXIE_AVX2 __m256i bytes32(const std::byte* src) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(src));
}

// dst[i] = d * q[i] for 16 signed bytes.
MOXIE_AVX2 void scaled16(__m128i q, __m256 d, float* dst) {
  const __m256 low = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q));
  const __m256 high = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(q, q)));
  _mm256_storeu_ps(dst, _mm256_mul_ps(d, low));
  _mm256_storeu_ps(dst + 8, _mm256_mul_ps(d, high));
}

// dst[i] = d * q[i] + m for 16 signed bytes.
MOXIE_AVX2 void affine16(__m128i q, __m256 d, __m256 m, float* dst) {
  const __m256 low = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q));
  const __m256 high = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(q, q)));
  _mm256_storeu_ps(dst, _mm256_add_ps(_mm256_mul_ps(d, low), m));
  _mm256_storeu_ps(dst + 8, _mm256_add_ps(_mm256_mul_ps(d, high), m));
}

MOXIE_AVX2 void scaled32(__m256i q, __m256 d, float* dst) {
  scaled16(_mm256_castsi256_si128(q), d, dst);
  scaled16(_mm256_extracti128_si256(q, 1), d, dst + 16);
}

MOXIE_AVX2 void affine32(__m256i q, __m256 d, __m256 m, float* dst) {
  affine16(_mm256_castsi256_si128(q), d, m, dst);
  affine16(_mm256_extracti128_si256(q, 1), d, m, dst + 16);
}

MOXIE_AVX2 int load16(const std::byte* src) {
  uint16_t value;
  std::memcpy(&value, src, 2);
  return value;
}
MOXIE_AVX2 int load32(const std::byte* src) {
  int value;
  std::memcpy(&value, src, 4);
  return value;
}

MOXIE_AVX2 __m128i low_nibbles(__m128i q) {
  return _mm_and_si128(q, _mm_set1_epi8(15));
}
MOXIE_AVX2 __m128i high_nibbles(__m128i q) {
  return _mm_and_si128(_mm_srli_epi16(q, 4), _mm_set1_epi8(15));
}
// 32 elements out of 16 bytes: the low nibbles, then the high ones.
MOXIE_AVX2 __m256i nibbles32(__m128i q) {
  return _mm256_set_m128i(high_nibbles(q), low_nibbles(q));
}

// The same in one step for each half of the register.
MOXIE_AVX2 __m256i spread_nibbles(const std::byte* src) {
  const __m256i both = _mm256_broadcastsi128_si256(bytes16(src));
  const __m256i moved = _mm256_srlv_epi32(both, _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4));
  return _mm256_and_si256(moved, _mm256_set1_epi8(15));
}

// 16 in byte i where bit i of the four bytes at src is set, else 0.
MOXIE_AVX2 __m256i fifth_bits(const std::byte* src) {
  const __m256i which = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1,  //
                                         2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
  const __m256i bit = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201));
  const __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(load32(src)), which);
  const __m256i is_set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit);
  return _mm256_and_si256(is_set, _mm256_set1_epi8(16));
}

// levels[q] for 32 codes below 16.
MOXIE_AVX2 __m256i lookup(const int8_t* levels, __m256i q) {
  const __m128i table = _mm_loadu_si128(reinterpret_cast<const __m128i*>(levels));
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), q);
}

}  // namespace moxie::quant::avx2
#endif
