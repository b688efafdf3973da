// PEFT's adapter folder: adapter_config.json and adapter_model.safetensors, keys
// base_model.model.<module>.<key> (PEFT, utils/save_and_load.py).
#include <algorithm>
#include <set>
#include <string_view>

#include "adapt/attachment.h"
#include "base/files.h"
#include "base/text_util.h"
#include "io/safetensors.h"

namespace moxie::adapt {
namespace fs = std::filesystem;
namespace {

constexpr const char* kPrefix = "base_model.model.";

Json target_modules(const std::vector<Target>& sites) {
  std::set<std::string> names;
  for (const Target& target : sites)
    names.insert(target.module.substr(target.module.rfind('.') + 1));
  return names;
}

// PEFT puts a copy of the base's matrix beside a LoRA on an embedding (save_embedding_layers).
constexpr std::string_view kBaseCopy = ".base_layer.weight";

bool is_base_copy(const std::string& name) {
  return name.starts_with(kPrefix) && name.ends_with(kBaseCopy);
}

// Names that the file's tensors attach to: what stands between the prefix and the method's own key.
std::vector<std::string> modules_in(const io::Safetensors& file, const std::string& where) {
  std::vector<std::string> modules;
  for (const auto& tensor : file.tensors()) {
    if (is_base_copy(tensor.name)) continue;  // check_base_copies() looks at these
    const size_t at = tensor.name.find(".lora_");
    if (!tensor.name.starts_with(kPrefix) || at == std::string::npos) {
      fail(ErrorCode::kUnsupported, where,
           "the tensor '{}' is not part of this method; only {}<module>.lora_* is", tensor.name,
           kPrefix);
    }
    const std::string module =
        tensor.name.substr(std::string(kPrefix).size(), at - std::string(kPrefix).size());
    if (std::find(modules.begin(), modules.end(), module) == modules.end())
      modules.push_back(module);
  }
  if (modules.empty()) fail(ErrorCode::kCorruptData, where, "the adapter holds no tensors");
  return modules;
}

// A copy that says what the base says is not needed; any other would change the base, which an
// adapter here does not do.
void check_base_copies(nn::Decoder& decoder, const io::Safetensors& file,
                       const std::vector<Target>& sites, const std::string& where) {
  constexpr double kRounding = 1e-2;  // a copy may be stored in bf16
  for (const auto& stored : file.tensors()) {
    if (!is_base_copy(stored.name)) continue;
    const nn::Matrix* base = nullptr;
    for (const Target& target : sites) {
      if (kPrefix + target.module + std::string(kBaseCopy) != stored.name) continue;
      for (const nn::Matrix* matrix : decoder.matrices()) {
        const bool is_tied = decoder.config().ties_embeddings && target.site->name == "head";
        if (matrix->name() == (is_tied ? "embed" : target.site->name)) base = matrix;
      }
    }
    double difference = 0, size = 0;
    if (base != nullptr && stored.dims == std::vector<int64_t>{base->rows(), base->cols()}) {
      const Tensor ours = base->decode(), theirs = stored.as_f32();
      for (int64_t i = 0; i < ours.count(); ++i) {
        const double a = ours.data<float>()[i], b = theirs.data<float>()[i];
        difference += (a - b) * (a - b);
        size += a * a;
      }
    } else {
      difference = 1;
    }
    if (!(difference <= kRounding * kRounding * size)) {
      fail(ErrorCode::kUnsupported, where,
           "'{}' is not the matrix of this base model: the adapter was trained on another base or "
           "also changed it; merge it into its own base with PEFT and use the result",
           stored.name);
    }
  }
}

void copy_into(nn::Param& param, const io::StoredTensor* stored, const std::string& name,
               const std::string& where) {
  if (stored == nullptr) fail(ErrorCode::kCorruptData, where, "the tensor '{}' is missing", name);
  if (stored->format == nullptr || stored->dims != param.value.shape().dims()) {
    fail(ErrorCode::kCorruptData, where, "'{}' is {} {}, but this model and config ask for {}",
         name, stored->type_name, dims_to_string(stored->dims), param.value.shape().to_string());
  }
  param.value = stored->as_f32();
}

}  // namespace

void Attachment::save(const fs::path& folder) const {
  fs::create_directories(folder);
  const auto& entry = *require_row(methods(), "method", method_name_).entry;
  Json config = {{"peft_type", entry.peft_type},
                 {"task_type", "CAUSAL_LM"},
                 {"base_model_name_or_path", base_name_},
                 {"revision", nullptr},
                 {"inference_mode", true},
                 {"auto_mapping", nullptr}};
  config.update(method_->to_peft_config());
  config["target_modules"] = target_modules(sites_);
  config["exclude_modules"] = nullptr;
  config["layers_pattern"] = nullptr;
  config["layers_to_transform"] = nullptr;
  if (!targets_.layers.empty()) {
    std::set<int64_t> layers;
    for (const Target& target : sites_) {
      if (target.site->layer >= 0) layers.insert(target.site->layer);
    }
    config["layers_to_transform"] = layers;
  }
  std::vector<io::NamedTensor> tensors;
  for (size_t i = 0; i < adapters_.size(); ++i) {
    const auto params = adapters_[i]->params();
    const auto keys = adapters_[i]->peft_keys();
    for (size_t k = 0; k < params.size(); ++k) {
      tensors.push_back({kPrefix + sites_[i].module + "." + keys[k], params[k]->value});
    }
  }
  io::write_safetensors(folder / "adapter_model.safetensors", tensors);
  write_file_atomically(folder / "adapter_config.json", config.dump(2) + "\n");
}

std::unique_ptr<Attachment> Attachment::load(models::Model& model, const fs::path& folder) {
  const std::string where = folder.string();
  std::error_code ignored;
  if (!fs::exists(folder / "adapter_config.json", ignored)) {
    fail(ErrorCode::kNotFound, where,
         "there is no adapter_config.json here; give the folder of a PEFT adapter");
  }
  const Json config = read_json_file(folder / "adapter_config.json");
  if (!config.is_object())
    fail(ErrorCode::kCorruptData, where, "adapter_config.json is not an object");
  const std::string type = config.contains("peft_type") && config.at("peft_type").is_string()
                               ? config.at("peft_type").get<std::string>()
                               : "";
  const Named<MethodEntry>* row = nullptr;
  for (const auto& candidate : methods()) {
    if (type == candidate->peft_type) row = &candidate;
  }
  if (row == nullptr) {
    fail(ErrorCode::kUnsupported, where,
         "peft_type '{}' is not a method Moxie has; see `moxie methods`", type);
  }
  auto method = (*row)->create();
  method->from_peft_config(config, where + "/adapter_config.json");
  const auto file = io::Safetensors::open(folder / "adapter_model.safetensors");

  // The file's own modules decide, so that whatever target_modules was (a regex, a list), nothing
  // is left out and nothing is made up.
  TargetOptions targets;
  targets.targets = modules_in(*file, where);
  const auto sites = select_targets(*model.decoder, targets, method->site_kinds(), where);
  for (const std::string& module : targets.targets) {
    if (std::none_of(sites.begin(), sites.end(),
                     [&](const Target& target) { return target.module == module; })) {
      fail(ErrorCode::kCorruptData, where,
           "the adapter changes '{}', which this model does not have; is it for another base?",
           module);
    }
  }
  check_base_copies(*model.decoder, *file, sites, where);
  std::unique_ptr<Attachment> made(
      new Attachment(*model.decoder, std::string(row->name), std::move(method), targets));
  made->base_name_ = model.path.string();
  std::vector<std::shared_ptr<Adapter>> units;
  for (size_t i = 0; i < sites.size(); ++i) {
    auto unit = made->method_->make(*sites[i].site, sites[i].module, Rng(0, i + 1));
    const auto params = unit->params();
    const auto keys = unit->peft_keys();
    for (size_t k = 0; k < params.size(); ++k) {
      const std::string name = kPrefix + sites[i].module + "." + keys[k];
      copy_into(*params[k], file->find(name), name, where);
    }
    units.push_back(std::move(unit));
  }
  made->sites_ = sites;
  made->adapters_ = std::move(units);
  for (size_t i = 0; i < sites.size(); ++i) sites[i].site->taps.push_back(made->adapters_[i]);
  return made;
}

}  // namespace moxie::adapt
