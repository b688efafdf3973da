#pragma once
// How a group of numbers that share a scale is rounded to integers of magnitude at most `most`.
#include <bit>
#include <cstdint>

namespace moxie::kernels {

inline int32_t magnitude_bits(float x) {  // ordered as |x|, with infinities and NaNs on top
  return std::bit_cast<int32_t>(x) & 0x7FFFFFFF;
}

// The scale of a group by the bits of its largest magnitude, and what its numbers are multiplied by
// before they are rounded: 0 where all codes are 0, since a number is infinite or none (the scale
// is NaN, so that products are), or all are below (most + 1) 2^-126, where most / |x| could
// overflow.
struct RoundingSteps {
  float scale, inverse;
};
inline RoundingSteps rounding_steps(int32_t magnitude, int most) {
  const auto top = std::bit_cast<float>(magnitude);
  const auto unit = static_cast<float>(most);
  if (magnitude >= 0x7F800000) return {std::bit_cast<float>(0x7FC00000), 0};
  if (top < (unit + 1) * 0x1.0p-126f) return {0, 0};
  return {top / unit, unit / top};
}

}  // namespace moxie::kernels
