#pragma once
// Adapters attached to a model: made fresh by a method, or read from a PEFT folder. While it lives
// the taps stand at their sites; detach() takes them off.
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "adapt/method.h"
#include "adapt/targets.h"
#include "models/load.h"

namespace moxie::adapt {

class Attachment {
 public:
  // Fresh adapters: attaches to every target; the model computes what it did before.
  static std::unique_ptr<Attachment> create(models::Model& model, const std::string& method_name,
                                            std::unique_ptr<Method> method,
                                            const TargetOptions& targets, uint64_t seed);
  // From a PEFT folder, validated whole before anything is attached (rules A1 to A3 of
  // docs/hardening.md).
  static std::unique_ptr<Attachment> load(models::Model& model,
                                          const std::filesystem::path& folder);
  ~Attachment();

  const std::string& method_name() const { return method_name_; }
  const Method& method() const { return *method_; }
  const TargetOptions& targets() const { return targets_; }
  const std::vector<std::shared_ptr<Adapter>>& adapters() const { return adapters_; }
  nn::ParamList params() const;
  // Writes adapter_config.json and adapter_model.safetensors.
  void save(const std::filesystem::path& folder) const;
  // Folds every adapter into the model's matrices (f32, or the given format afterwards) and
  // detaches.
  void merge(models::Model& model);
  void detach();

 private:
  Attachment(nn::Decoder& decoder, std::string method_name, std::unique_ptr<Method> method,
             TargetOptions targets);
  void attach(const std::vector<Target>& sites, uint64_t seed);
  nn::Decoder* decoder_;
  std::string method_name_;
  std::unique_ptr<Method> method_;
  TargetOptions targets_;
  std::vector<std::shared_ptr<Adapter>> adapters_;
  std::vector<Target> sites_;  // of adapters_, in order
  std::string base_name_;
};

}  // namespace moxie::adapt
