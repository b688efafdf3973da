#pragma once
// Typed reading of a GGUF file's <architecture>.* metadata.
#include <optional>
#include <string>

#include "models/architecture.h"

namespace moxie::models {

class GgufConfig {
 public:
  GgufConfig(const io::GgufFile& file, std::string prefix)
      : file_(file), prefix_(std::move(prefix)) {}
  const io::GgufFile& file() const { return file_; }
  bool has(const std::string& key) const { return file_.has(full(key)); }
  int64_t integer(const std::string& key, std::optional<int64_t> fallback = {}) const;
  double number(const std::string& key, std::optional<double> fallback = {}) const;
  // A number that may be given once or once a layer; all layers must agree.
  int64_t uniform(const std::string& key, std::optional<int64_t> fallback = {}) const;
  nn::RopeConfig rope(const nn::DecoderConfig& config) const;
  // The window of all layers but every `period`th, where the file states no other period or layers.
  void set_windows(nn::DecoderConfig& config, int64_t window, int64_t period) const;
  bool has_tensor(const std::string& name) const { return file_.find_tensor(name) != nullptr; }

 private:
  std::string full(const std::string& key) const { return prefix_ + "." + key; }
  const io::GgufFile& file_;
  std::string prefix_;
};

nn::DecoderConfig read_gguf_config(const io::GgufFile& file,
                                   const Named<Architecture>** architecture);

}  // namespace moxie::models
