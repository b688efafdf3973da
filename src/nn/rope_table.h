#pragma once
// The frequencies of rotary embeddings for every scaling type of transformers
// (modeling_rope_utils): default, linear, dynamic (NTK), yarn, llama3, longrope.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace moxie::nn {

struct RopeConfig {
  std::string type = "default";
  double theta = 10000;
  int64_t rotated = 0;  // elements of a head that turn (head_dim, or part of it)
  double factor = 1;
  int64_t max_positions = 2048;                                // of the config
  int64_t original_max_positions = 0;                          // before scaling; 0: max_positions
  double low_frequency_factor = 1, high_frequency_factor = 4;  // llama3
  double beta_fast = 32, beta_slow = 1;                        // yarn
  bool truncates = true;                                       // yarn: whole correction dimensions
  std::optional<double> attention_factor;                      // the amplitude, where it is given
  std::optional<double> mscale, mscale_all_dim;                // yarn, longrope
  std::vector<double> short_factors, long_factors;             // longrope, [rotated / 2]
  std::vector<double> divisors;  // GGUF's rope_freqs: frequencies are divided by these
};

struct RopeFrequencies {
  std::vector<double> values;  // [rotated / 2], radians a position
  double amplitude = 1;
};

// For a batch whose longest sequence has `length` positions (dynamic and longrope depend on it).
RopeFrequencies rope_frequencies(const RopeConfig& config, int64_t length);
const std::vector<std::string>& rope_types();
// The amplitude of YaRN where the model gives none.
double yarn_magnitude(double factor, double mscale = 1);

}  // namespace moxie::nn
