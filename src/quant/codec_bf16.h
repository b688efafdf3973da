#pragma once
// Decoding straight to bf16, for products on CPUs where bf16_is_native(): what decode() gives,
// rounded to nearest even (subnormals become 0). It takes what a codec states for int8 products
// (int8_kernels.h).
#include <cstddef>
#include <cstdint>

#include "quant/int8_kernels.h"
#include "tensor/dtype.h"

namespace moxie::quant {

using DecodeBF16 = void (*)(const std::byte* src, BFloat16* dst, int64_t n) noexcept;

#ifndef MOXIE_SCALAR_ONLY
#define MOXIE_BF16_TARGET "avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16"

[[gnu::target(MOXIE_BF16_TARGET), gnu::always_inline]] inline __m512 half_in_all(
    const std::byte* src) {
  return _mm512_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(avx2::load16(src))));
}
[[gnu::target(MOXIE_BF16_TARGET), gnu::always_inline]] inline __m512 times(__m512 d, int64_t by) {
  return _mm512_mul_ps(d, _mm512_set1_ps(static_cast<float>(by)));
}

template <class F>
[[gnu::target(MOXIE_BF16_TARGET)]] void decode_bf16(const std::byte* src, BFloat16* dst,
                                                    int64_t n) noexcept {
  constexpr int kGroups = F::kBlock / static_cast<int>(kInt8Group);
  for (int64_t b = 0; b < n / F::kBlock; ++b, src += F::kBytes) {
    const __m512 d = half_in_all(src + F::kScaleAt);
    __m512 minimum = _mm512_setzero_ps();
    if constexpr (F::kMinima != Minima::kNone) minimum = half_in_all(src + F::kScaleAt + 2);
    for (int g = 0; g < kGroups; ++g, dst += kInt8Group) {
      const __m256i codes =
          _mm256_sub_epi8(F::codes_avx2(src, g), _mm256_set1_epi8(static_cast<char>(F::kOffset)));
      __m512 low = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_castsi256_si128(codes)));
      __m512 high = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_extracti128_si256(codes, 1)));
      __m512 scales[2] = {d, d};
      if constexpr (F::kMultipliers != Multipliers::kNone) {
        for (int half = 0; half < 2; ++half)
          scales[half] = times(d, multiplier_of<F>(src, g, half));
      }
      low = _mm512_mul_ps(scales[0], low);
      high = _mm512_mul_ps(scales[1], high);
      if constexpr (F::kMinima == Minima::kBlock) {
        low = _mm512_add_ps(low, minimum);
        high = _mm512_add_ps(high, minimum);
      } else if constexpr (F::kMinima == Minima::kGroup) {
        const __m512 taken = times(minimum, scale_minimum(src + F::kMultipliersAt, g).minimum);
        low = _mm512_sub_ps(low, taken);
        high = _mm512_sub_ps(high, taken);
      }
      _mm512_storeu_si512(dst, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low)));
    }
  }
}
template <class F>
inline constexpr DecodeBF16 kDecodeBF16 = decode_bf16<F>;
#else
template <class F>
inline constexpr DecodeBF16 kDecodeBF16 = nullptr;
#endif

}  // namespace moxie::quant
