#pragma once
// A PEFT method: what it attaches to which sites, how its parameters are named in a PEFT folder,
// and how it is merged into the base. One file a method, listed in adapt.list; the row's name is
// the method's.
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/options.h"
#include "base/registry.h"
#include "base/rng.h"
#include "nn/decoder.h"

namespace moxie::adapt {

// What every method shares: which sites it takes.
struct TargetOptions {
  std::vector<std::string> targets = {
      "all-linear"};  // all-linear, suffixes such as q_proj, or a regex
  std::vector<std::string> exclude;
  std::vector<std::string> layers;  // "0-7", "12": all when empty
};

// One unit of a method at one site.
class Adapter : public nn::Tap {
 public:
  explicit Adapter(const nn::Site& site) : site_name_(site.name) {}
  const std::string& site_name() const { return site_name_; }
  virtual std::vector<nn::Param*> params() = 0;
  // Key in a PEFT file for each of params(), after "base_model.model.<module>.".
  virtual std::vector<std::string> peft_keys() const = 0;
  // Adds what this adapter does at a linear or embedding site to its matrix, f32 [out, in]
  // ([vocab, dim] for an embedding).
  virtual void merge_into(Tensor& matrix) const = 0;

 private:
  std::string site_name_;
};

// A method with its options set.
class Method {
 public:
  virtual ~Method() = default;
  virtual std::vector<Option> options() = 0;
  virtual std::vector<nn::SiteKind> site_kinds() const = 0;
  // Checks options against the site and makes the unit, initialised so that the model is unchanged.
  // `rng` is this site's own stream.
  virtual std::shared_ptr<Adapter> make(const nn::Site& site, const std::string& module,
                                        Rng rng) = 0;
  // The method's part of adapter_config.json, and reading it back; unknown or unsupported settings
  // that would change the result are errors.
  virtual Json to_peft_config() const = 0;
  virtual void from_peft_config(const Json& config, const std::string& where) = 0;
};

struct MethodEntry {
  const char* summary;
  const char* paper;
  const char* peft_type;      // "LORA"
  const char* not_mergeable;  // why, or null when merge_into works
  std::unique_ptr<Method> (*create)();
};

Table<MethodEntry> methods();

}  // namespace moxie::adapt
