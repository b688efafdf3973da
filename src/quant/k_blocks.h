#pragma once
// Shared by the formats of 256 elements with scales of groups: the packing of 6-bit scales and
// minima, and the fits that the encoders choose them by.
#include <cstddef>
#include <cstdint>

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
