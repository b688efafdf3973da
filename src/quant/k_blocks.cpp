#include "quant/k_blocks.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "quant/codec.h"

namespace moxie::quant {
namespace {

constexpr int kTrials = 20;  // steps tried on each side of the full range
constexpr int kLanes = 4;

using Floats [[gnu::vector_size(4 * kLanes)]] = float;
using Ints [[gnu::vector_size(4 * kLanes)]] = int32_t;

float total(Floats v) {
  return (v[0] + v[2]) + (v[1] + v[3]);
}

// Sums over a group of the codes q that round(x * inverse + offset), held to 0..most, gives. A
// shift is taken off q before summing. n is a multiple of kLanes.
struct Sums {
  float q, qq, xq;
};
Sums sums_of_codes(const float* x, int n, float inverse, float offset, float most, float shift) {
  const Floats zero = {};
  Floats q = {}, qq = {}, xq = {};
  for (int i = 0; i < n; i += kLanes) {
    Floats value;
    std::memcpy(&value, x + i, sizeof(value));
    Floats code = value * inverse + (offset + 0.5f);
    code = code > zero ? code : zero;  // NaN becomes 0
    code = code < zero + most ? code : zero + most;
    code = __builtin_convertvector(__builtin_convertvector(code, Ints), Floats) - shift;
    q += code;
    qq += code * code;
    xq += code * value;
  }
  return {total(q), total(qq), total(xq)};
}

// The best scale and minimum for given codes, and what they take off the sum of squares.
struct Solution {
  Affine fit;
  double gain;
};
Solution solve(const Sums& codes, double sum, int n) {
  const double spread = static_cast<double>(n) * codes.qq - double{codes.q} * codes.q;
  if (!(spread > 0)) return {{}, -1};
  double scale = (static_cast<double>(n) * codes.xq - codes.q * sum) / spread;
  double offset = (sum - scale * codes.q) / n;
  if (offset > 0) {  // a minimum below zero cannot be stored
    offset = 0;
    scale = double{codes.xq} / codes.qq;
  }
  if (!(scale > 0)) return {{}, -1};
  // |x|^2 - |x - (scale q + offset)|^2, both factors being the least squares solution
  const double gain = scale * codes.xq + offset * sum;
  return {{static_cast<float>(scale), static_cast<float>(-offset)}, gain};
}

}  // namespace

void set_scale_minimum(std::byte* packed, int group, ScaleMinimum s) {
  const auto put = [&](int at, int bits) { packed[at] |= static_cast<std::byte>(bits); };
  if (group < 4) {
    put(group, s.scale);
    put(4 + group, s.minimum);
  } else {
    put(4 + group, (s.scale & 15) | (s.minimum & 15) << 4);
    put(group - 4, s.scale >> 4 << 6);
    put(group, s.minimum >> 4 << 6);
  }
}

Affine fit_affine(const float* x, int n, int most) {
  const auto [smallest, largest] = std::minmax_element(x, x + n);
  const float low = std::min(*smallest, 0.0f);
  const float range = *largest - low;
  const auto top = static_cast<float>(most);
  if (!(range > 0) || !std::isfinite(range)) return {0, -low};
  double sum = 0;
  for (int i = 0; i < n; ++i) sum += x[i];
  Affine best{range / top, -low};
  double gain = -1;
  for (int t = -kTrials; t <= kTrials; ++t) {
    Affine fit{range / (top + 0.1f * static_cast<float>(t)), -low};
    for (int turn = 0; turn < 2; ++turn) {
      const float inverse = 1.0f / fit.scale;
      const Sums codes = sums_of_codes(x, n, inverse, fit.minimum * inverse, top, 0);
      const Solution found = solve(codes, sum, n);
      if (found.gain < 0) break;
      fit = found.fit;
      if (found.gain > gain) {
        gain = found.gain;
        best = fit;
      }
    }
  }
  return best;
}

float fit_scale(const float* x, int n, int reach) {
  const float most = extreme(x, n);
  if (most == 0 || !std::isfinite(most)) return 0;
  const auto shift = static_cast<float>(reach);
  float best = 0;
  double gain = 0;  // sum(x q)^2 / sum(q^2): what the fit takes off the sum of squares
  for (int t = -kTrials; t <= kTrials; ++t) {
    const float inverse = -(shift + 0.1f * static_cast<float>(t)) / most;
    const Sums codes = sums_of_codes(x, n, inverse, shift, 2 * shift - 1, shift);
    const double found = double{codes.xq} * codes.xq / codes.qq;
    if (found > gain) {
      gain = found;
      best = codes.xq / codes.qq;
    }
  }
  return best;
}

}  // namespace moxie::quant
