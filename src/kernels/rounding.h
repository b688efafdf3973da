#pragma once
// How a group of numbers that share a scale is rounded to integers of magnitude at most `most`.
// Static: what is compiled for one instruction set must not be linked into code for another.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "kernels/micro16.h"

namespace moxie::kernels {

static inline int32_t magnitude_bits(float x) {  // ordered as |x|, with infinities and NaNs on top
  return std::bit_cast<int32_t>(x) & 0x7FFFFFFF;
}

// The scale of a group by the bits of its largest magnitude, and what its numbers are multiplied by
// before they are rounded: 0 where all codes are 0, since a number is infinite or none (the scale
// is NaN, so that products are), or all are below (most + 1) 2^-126, where most / |x| could
// overflow.
struct RoundingSteps {
  float scale, inverse;
};
static inline RoundingSteps rounding_steps(int32_t magnitude, int most) {
  const auto top = std::bit_cast<float>(magnitude);
  const auto unit = static_cast<float>(most);
  if (magnitude >= 0x7F800000) return {std::bit_cast<float>(0x7FC00000), 0};
  if (top < (unit + 1) * 0x1.0p-126f) return {0, 0};
  return {top / unit, unit / top};
}

// Codes of x[p * step], p < k, through put(p, code), one by one. Returns their scale.
template <class Put>
static inline float round_all(const float* x, int64_t step, int64_t k, int most, const Put& put) {
  int32_t magnitude = 0;
  for (int64_t p = 0; p < k; ++p) magnitude = std::max(magnitude, magnitude_bits(x[p * step]));
  const RoundingSteps steps = rounding_steps(magnitude, most);
  for (int64_t p = 0; p < k; ++p)
    put(p, steps.inverse == 0 ? 0 : static_cast<int>(std::nearbyint(x[p * step] * steps.inverse)));
  return steps.scale;
}

inline constexpr int kSpreadLanes = 16;

// Codes that numbers may have whose largest magnitude is `top` and whose magnitudes' sum stands in
// lanes, number p in lane p % kSpreadLanes, so that the codes' sum stays below 2^31 / kMost16 for
// up to kDeepest16 of them.
static inline int spread_codes(float top, const float* lanes) {
  float sum = 0;
  for (int i = 0; i < kSpreadLanes; ++i) sum += lanes[i];
  const float share = top / sum;  // no number where all are 0, or one is none
  if (!(share > 0)) return kMost16;
  return std::max(kMost16, static_cast<int>(std::min(32767.0f, share * 1.048e6f)));
}

}  // namespace moxie::kernels
