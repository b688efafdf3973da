#include "nn/rope_table.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "base/text_util.h"

namespace moxie::nn {
namespace {

std::vector<double> plain(double theta, int64_t rotated) {
  std::vector<double> values;
  for (int64_t i = 0; i < rotated; i += 2) {
    values.push_back(1.0 / std::pow(theta, static_cast<double>(i) / static_cast<double>(rotated)));
  }
  return values;
}

int64_t original_positions(const RopeConfig& config) {
  return config.original_max_positions > 0 ? config.original_max_positions : config.max_positions;
}

// Wavelengths beyond the original context are stretched by `factor`, short ones stay, those between
// are blended (Llama 3.1's release).
std::vector<double> llama3(const RopeConfig& config) {
  std::vector<double> values = plain(config.theta, config.rotated);
  const auto original = static_cast<double>(original_positions(config));
  for (double& value : values) {
    const double wavelength = 2 * std::numbers::pi / value;
    if (wavelength > original / config.low_frequency_factor) {
      value /= config.factor;
    } else if (wavelength >= original / config.high_frequency_factor) {
      const double smooth = (original / wavelength - config.low_frequency_factor) /
                            (config.high_frequency_factor - config.low_frequency_factor);
      value = (1 - smooth) * value / config.factor + smooth * value;
    }
  }
  return values;
}

// YaRN (Peng et al., 2023): a ramp over the dimensions between interpolation and none.
RopeFrequencies yarn(const RopeConfig& config) {
  const double original = static_cast<double>(original_positions(config));
  const double dims = static_cast<double>(config.rotated);
  const auto dimension_of = [&](double rotations) {
    return dims * std::log(original / (rotations * 2 * std::numbers::pi)) /
           (2 * std::log(config.theta));
  };
  double low = dimension_of(config.beta_fast);
  double high = dimension_of(config.beta_slow);
  if (config.truncates) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dims - 1);
  if (low == high) high += 0.001;
  RopeFrequencies result{plain(config.theta, config.rotated), 1};
  for (size_t i = 0; i < result.values.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    result.values[i] = result.values[i] / config.factor * ramp + result.values[i] * (1 - ramp);
  }
  if (config.mscale && config.mscale_all_dim && *config.mscale != 0 &&
      *config.mscale_all_dim != 0) {
    result.amplitude = yarn_magnitude(config.factor, *config.mscale) /
                       yarn_magnitude(config.factor, *config.mscale_all_dim);
  } else {
    result.amplitude = yarn_magnitude(config.factor, 1);
  }
  return result;
}

// LongRoPE (Ding et al., 2024), as in Phi-3: one list of divisors within the original context, one
// beyond.
RopeFrequencies longrope(const RopeConfig& config, int64_t length) {
  const int64_t original = original_positions(config);
  const auto& factors = length > original ? config.long_factors : config.short_factors;
  RopeFrequencies result{plain(config.theta, config.rotated), 1};
  if (factors.size() != result.values.size()) {
    fail(ErrorCode::kCorruptData, "rope", "longrope has {} factors for {} frequencies",
         factors.size(), result.values.size());
  }
  for (size_t i = 0; i < factors.size(); ++i) result.values[i] /= factors[i];
  const double factor =
      config.factor > 1 ? config.factor
                        : static_cast<double>(config.max_positions) / static_cast<double>(original);
  if (factor > 1) {
    result.amplitude = std::sqrt(1 + std::log(factor) / std::log(static_cast<double>(original)));
  }
  return result;
}

// The base grows with the sequence once it passes the trained context (the "dynamic NTK" of
// transformers).
std::vector<double> dynamic(const RopeConfig& config, int64_t length) {
  const auto limit = static_cast<double>(config.max_positions);
  const double reach = std::max(static_cast<double>(length), limit);
  const double dims = static_cast<double>(config.rotated);
  const double theta = config.theta * std::pow(config.factor * reach / limit - (config.factor - 1),
                                               dims / (dims - 2));
  return plain(theta, config.rotated);
}

}  // namespace

double yarn_magnitude(double factor, double mscale) {
  return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

const std::vector<std::string>& rope_types() {
  static const std::vector<std::string> types = {"default", "linear", "dynamic",
                                                 "yarn",    "llama3", "longrope"};
  return types;
}

RopeFrequencies rope_frequencies(const RopeConfig& config, int64_t length) {
  RopeFrequencies result;
  if (config.type == "default") {
    result.values = plain(config.theta, config.rotated);
  } else if (config.type == "linear") {
    result.values = plain(config.theta, config.rotated);
    for (double& value : result.values) value /= config.factor;
  } else if (config.type == "dynamic") {
    result.values = dynamic(config, length);
  } else if (config.type == "yarn") {
    result = yarn(config);
  } else if (config.type == "llama3") {
    result.values = llama3(config);
  } else if (config.type == "longrope") {
    result = longrope(config, length);
  } else {
    fail(ErrorCode::kUnsupported, "rope", "scaling type '{}' is not known{}", config.type,
         suggestion(config.type, rope_types()));
  }
  if (config.attention_factor) result.amplitude = *config.attention_factor;
  if (!config.divisors.empty()) {
    if (config.divisors.size() != result.values.size()) {
      fail(ErrorCode::kCorruptData, "rope", "{} divisors for {} frequencies",
           config.divisors.size(), result.values.size());
    }
    for (size_t i = 0; i < result.values.size(); ++i) result.values[i] /= config.divisors[i];
  }
  return result;
}

}  // namespace moxie::nn
