#pragma once
// Writing a configuration as a GGUF file's <architecture>.* metadata: the reverse of
// gguf_config.h, with its keys. What llama.cpp has no key or no code for is refused, never left
// out: what was written is read back and must be the configuration it came from.
#include <string>
#include <utility>
#include <vector>

#include "io/gguf.h"
#include "models/architecture.h"

namespace moxie::models {

// llama.cpp runs Llama, Mistral and Granite through one block.
inline constexpr GgufLimits kLlamaLimits{.qkv_bias = true,
                                         .output_bias = true,
                                         .mlp_bias = true,
                                         .rope_divisors = true,
                                         .long_rope = true};

class GgufMetadata {
 public:
  // `where` is the model, for messages.
  GgufMetadata(io::GgufWriter& file, const Architecture& architecture, std::string where)
      : file_(file), architecture_(architecture), where_(std::move(where)) {}
  void integer(const std::string& key, int64_t value);
  void number(const std::string& key, double value);
  void text(const std::string& key, const std::string& value);
  // Throws kUnsupported with the way out unless `holds`.
  void require(bool holds, const std::string& what) const;
  // The window, and the period of the layers without where it is not the usual one.
  void windows(const nn::DecoderConfig& config, int64_t usual_period);
  // Everything, what is particular to the architecture included.
  void config(const nn::DecoderConfig& config);
  // What the settings need beside the weights: rotary factors, f32, by name.
  const std::vector<std::pair<std::string, std::vector<float>>>& tensors() const {
    return tensors_;
  }

 private:
  void limits(const nn::DecoderConfig& config) const;
  void rope(const nn::RopeConfig& rope);
  void yarn(const nn::RopeConfig& rope);
  void divisors(const nn::RopeConfig& rope);
  void long_rope(const nn::RopeConfig& rope);
  std::string full(const std::string& key) const;

  io::GgufWriter& file_;
  const Architecture& architecture_;
  std::string where_;
  std::vector<std::pair<std::string, std::vector<float>>> tensors_;
};

// Throws kUnsupported where the file, read again, is not the configuration.
void check_gguf_config(const io::GgufFile& file, const nn::DecoderConfig& config,
                       const std::string& where);

}  // namespace moxie::models
