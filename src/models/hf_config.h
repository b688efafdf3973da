#pragma once
// Typed reading of a Hugging Face config.json: errors name the file, the key and what it holds.
#include <optional>
#include <string>

#include "base/json.h"
#include "models/architecture.h"

namespace moxie::models {

class HfConfig {
 public:
  HfConfig(const Json& json, std::string where) : json_(json), where_(std::move(where)) {}
  const Json& json() const { return json_; }
  const std::string& where() const { return where_; }
  bool has(const std::string& key) const;  // present and not null
  int64_t integer(const std::string& key, std::optional<int64_t> fallback = {}) const;
  double number(const std::string& key, std::optional<double> fallback = {}) const;
  bool flag(const std::string& key, bool fallback) const;
  std::string text(const std::string& key, const std::string& fallback) const;
  HfConfig object(const std::string& key) const;
  std::vector<double> numbers(const std::string& key) const;

  // rope_parameters of transformers 5, or rope_theta and rope_scaling before it. Of a nested object
  // (one a layer type), `layer_type` picks.
  nn::RopeConfig rope(const nn::DecoderConfig& config, const std::string& layer_type = "") const;
  // Windows by layer_types, where the config lists them; else `window` everywhere.
  void set_windows(nn::DecoderConfig& config, int64_t window) const;
  ops::Activation activation() const;  // hidden_act or hidden_activation

 private:
  Json json_;
  std::string where_;
};

// The whole configuration of a config.json; `architecture` receives the row it belongs to.
nn::DecoderConfig read_hf_config(const Json& json, const std::string& where,
                                 const Named<Architecture>** architecture);

}  // namespace moxie::models
