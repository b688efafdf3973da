#pragma once
// Shared by the formats of 256 elements with scales of groups: the packing of 6-bit scales and
// minima, and the fits that the encoders choose them by.
#include <cstddef>
#include <cstdint>

#include "quant/codec_avx2.h"

namespace moxie::quant {

struct ScaleMinimum {
  int scale, minimum;  // 0..63
};

// Of group g < 8 out of 12 bytes. Groups 0..3: the low six bits of bytes g and 4 + g. Groups 4..7:
// four bits in byte 4 + g (scale low, minimum high) and the two top bits of bytes g - 4 and g.
[[gnu::always_inline]] inline ScaleMinimum scale_minimum(const std::byte* packed, int group) {
  const auto* p = reinterpret_cast<const uint8_t*>(packed);
  if (group < 4) return {p[group] & 63, p[4 + group] & 63};
  return {(p[4 + group] & 15) | p[group - 4] >> 6 << 4, p[4 + group] >> 4 | p[group] >> 6 << 4};
}

#ifndef MOXIE_SCALAR_ONLY
// Of all groups at once: eight scales, then eight minima, a byte each.
MOXIE_AVX2 __m128i scales_and_minima(const std::byte* packed) {
  const auto a = static_cast<uint32_t>(avx2::load32(packed));
  const auto b = static_cast<uint32_t>(avx2::load32(packed + 4));
  const auto c = static_cast<uint32_t>(avx2::load32(packed + 8));
  const uint32_t scales = (c & 0x0F0F0F0Fu) | (a >> 2 & 0x30303030u);
  const uint32_t minima = (c >> 4 & 0x0F0F0F0Fu) | (b >> 2 & 0x30303030u);
  return _mm_setr_epi32(static_cast<int>(a & 0x3F3F3F3Fu), static_cast<int>(scales),
                        static_cast<int>(b & 0x3F3F3F3Fu), static_cast<int>(minima));
}
#endif

// The reverse, into bytes that were zero.
void set_scale_minimum(std::byte* packed, int group, ScaleMinimum s);

// x ~ scale * code - minimum with codes 0..most, scale and minimum not negative: near the least
// squared error, by trying steps around the full range and solving for both factors each time.
struct Affine {
  float scale = 0, minimum = 0;
};
Affine fit_affine(const float* x, int n, int most);

// x ~ scale * code with codes -reach..reach - 1, likewise; the scale may be negative.
float fit_scale(const float* x, int n, int reach);

}  // namespace moxie::quant
