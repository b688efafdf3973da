#include "quant/k_blocks.h"

#include <algorithm>
#include <cmath>

#include "quant/codec.h"

namespace moxie::quant {
namespace {

constexpr int kTrials = 20;  // steps tried on each side of the full range

float squared_error(const float* x, int n, int most, Affine fit) {
  float error = 0;
  for (int i = 0; i < n; ++i) {
    const int code = code_of(ratio(x[i] + fit.minimum, fit.scale) + 0.5f, most);
    const float off = fit.scale * static_cast<float>(code) - fit.minimum - x[i];
    error += off * off;
  }
  return error;
}

// The best scale and minimum for the codes that `guess` gives.
Affine solve_affine(const float* x, int n, int most, Affine guess) {
  double codes = 0, squares = 0, values = 0, products = 0;
  for (int i = 0; i < n; ++i) {
    const int code = code_of(ratio(x[i] + guess.minimum, guess.scale) + 0.5f, most);
    codes += code;
    squares += code * code;
    values += x[i];
    products += static_cast<double>(x[i]) * code;
  }
  const double spread = n * squares - codes * codes;
  if (spread <= 0) return guess;
  double scale = (n * products - codes * values) / spread;
  double offset = (values - scale * codes) / n;
  if (offset > 0) {  // a minimum below zero cannot be stored
    offset = 0;
    scale = products / squares;
  }
  if (scale <= 0) return guess;
  return {static_cast<float>(scale), static_cast<float>(-offset)};
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
  if (!(range > 0) || !std::isfinite(range)) return {0, -low};
  Affine best{range / static_cast<float>(most), -low};
  float least = squared_error(x, n, most, best);
  for (int t = -kTrials; t <= kTrials; ++t) {
    const float steps = static_cast<float>(most) + 0.1f * static_cast<float>(t);
    Affine fit{range / steps, -low};
    for (int turn = 0; turn < 2; ++turn) {
      fit = solve_affine(x, n, most, fit);
      const float error = squared_error(x, n, most, fit);
      if (error < least) {
        least = error;
        best = fit;
      }
    }
  }
  return best;
}

float fit_scale(const float* x, int n, int reach) {
  const float most = extreme(x, n);
  if (most == 0 || !std::isfinite(most)) return 0;
  float best = 0;
  double gain = 0;  // sum(x code)^2 / sum(code^2): what the fit takes off the squared error
  for (int t = -kTrials; t <= kTrials; ++t) {
    const float inverse = -(static_cast<float>(reach) + 0.1f * static_cast<float>(t)) / most;
    double products = 0, squares = 0;
    for (int i = 0; i < n; ++i) {
      const int code =
          code_of(x[i] * inverse + static_cast<float>(reach) + 0.5f, 2 * reach - 1) - reach;
      products += static_cast<double>(x[i]) * code;
      squares += static_cast<double>(code) * code;
    }
    if (squares > 0 && products * products > gain * squares) {
      gain = products * products / squares;
      best = static_cast<float>(products / squares);
    }
  }
  return best;
}

}  // namespace moxie::quant
