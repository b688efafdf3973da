#include "io/hub_store.h"

#include <algorithm>

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text_util.h"
#include "io/hub_names.h"

namespace moxie::io {
namespace fs = std::filesystem;
namespace {

constexpr int kFormat = 1;

fs::path or_default(const fs::path& folder) {
  return folder.empty() ? models_folder() : folder;
}

[[noreturn]] void not_a_manifest(const fs::path& path) {
  fail(ErrorCode::kCorruptData, "pull", "'{}' is damaged; pull the model again", path.string());
}

std::string text_of(const Json& object, const char* key, const fs::path& path) {
  if (!object.contains(key) || !object[key].is_string()) not_a_manifest(path);
  return object[key].get<std::string>();
}

[[noreturn]] void not_pulled(std::string_view name, const fs::path& models) {
  std::vector<std::string> names;
  for (const auto& model : list_pulled(models)) names.push_back(model.name);
  std::string advice = "; check the path";
  if (!names.empty()) {
    advice = suggestion(name, names);
  } else if (!name.ends_with(".gguf")) {
    advice = "; fetch it with: moxie pull " + std::string(name);
  }
  fail(ErrorCode::kNotFound, "model",
       "there is no file or folder '{}' and no pulled model of that name{}", name, advice);
}

std::vector<fs::path> subfolders(const fs::path& folder) {
  std::vector<fs::path> out;
  std::error_code failed;
  for (fs::directory_iterator it(folder, failed), end; !failed && it != end; it.increment(failed)) {
    std::error_code ignored;
    if (it->is_directory(ignored)) out.push_back(it->path());
  }
  std::sort(out.begin(), out.end());
  return out;
}

std::vector<std::string> file_names(const PulledModel& model) {
  std::vector<std::string> names;
  for (const auto& [name, file] : model.files) names.push_back(name);
  return names;
}

void remove_folder(const fs::path& folder, const fs::path& models) {
  std::error_code failed;
  // The manifest first: what a crash leaves behind is then no model any more.
  fs::remove(folder / kPullManifest, failed);
  if (!failed) fs::remove_all(folder, failed);
  if (failed) {
    fail(ErrorCode::kIo, "rm", "cannot delete '{}': {}", folder.string(), failed.message());
  }
  if (folder.parent_path() != models) fs::remove(folder.parent_path(), failed);  // the empty owner
}

}  // namespace

uint64_t PulledModel::size() const {
  uint64_t total = 0;
  for (const auto& file : files) total += file.second.size;
  return total;
}

fs::path models_folder() {
  return data_folder() / "models";
}

std::optional<PulledModel> read_pulled(const fs::path& models, const std::string& name) {
  PulledModel model;
  model.name = name;
  model.path = models / name;
  const fs::path path = model.path / kPullManifest;
  if (!fs::exists(path)) return std::nullopt;
  const Json json = read_json_file(path);
  if (!json.is_object() || json.value("format", Json()) != kFormat || !json.contains("files") ||
      !json["files"].is_object()) {
    not_a_manifest(path);
  }
  model.repo = text_of(json, "repo", path);
  model.revision = text_of(json, "revision", path);
  model.commit = text_of(json, "commit", path);
  model.pulled_at = text_of(json, "pulled_at", path);
  for (const auto& [file, entry] : json["files"].items()) {
    if (!is_safe_file_name(file) || !entry.is_object() || !entry.contains("size") ||
        !entry["size"].is_number_unsigned()) {
      not_a_manifest(path);
    }
    model.files[file] = {entry["size"].get<uint64_t>(), text_of(entry, "sha256", path),
                         text_of(entry, "etag", path)};
  }
  return model;
}

void write_pulled(const PulledModel& model) {
  Json files = Json::object();
  for (const auto& [name, file] : model.files) {
    files[name] = {{"size", file.size}, {"sha256", file.sha256}, {"etag", file.etag}};
  }
  const Json json = {
      {"format", kFormat},      {"repo", model.repo},           {"revision", model.revision},
      {"commit", model.commit}, {"pulled_at", model.pulled_at}, {"files", files}};
  write_file_atomically(model.path / kPullManifest, json.dump(2) + "\n");
}

std::vector<PulledModel> list_pulled(const fs::path& folder) {
  const fs::path models = or_default(folder);
  std::vector<PulledModel> found;
  const auto add = [&](const fs::path& path) {
    try {
      auto model = read_pulled(models, fs::relative(path, models).generic_string());
      if (model) found.push_back(*std::move(model));
    } catch (const Error& error) {
      spdlog::warn("{}", error.what());  // one damaged model must not hide the others
    }
  };
  for (const auto& owner : subfolders(models)) {
    add(owner);
    for (const auto& path : subfolders(owner)) add(path);
  }
  return found;
}

void remove_pulled(std::string_view text, const fs::path& folder) {
  const fs::path models = or_default(folder);
  const ModelName name = parse_model_name(text);
  const fs::path path = models / name.folder_name();
  if (name.quant.empty()) {
    // Damaged or unfinished ones can go too, as long as pull made them (an owner's folder is none).
    if (!fs::exists(path / kPullManifest) && !fs::exists(path / kPullLock))
      not_pulled(text, models);
    return remove_folder(path, models);
  }
  auto model = read_pulled(models, name.folder_name());
  if (!model) not_pulled(text, models);
  const std::string file = choose_gguf(file_names(*model), name.repo, name.quant);
  model->files.erase(file);
  if (model->files.empty()) return remove_folder(path, models);
  write_pulled(*model);
  std::error_code failed;
  fs::remove(path / file, failed);
  if (failed) fail(ErrorCode::kIo, "rm", "cannot delete '{}': {}", file, failed.message());
}

fs::path resolve_model(std::string_view text, const fs::path& folder) {
  std::error_code ignored;
  if (fs::exists(fs::path(text), ignored)) return fs::path(text);
  const fs::path models = or_default(folder);
  ModelName name;
  try {
    name = parse_model_name(text);
  } catch (const Error&) {
    not_pulled(text, models);  // a path that is not there reads better as that than as a bad name
  }
  const auto model = read_pulled(models, name.folder_name());
  if (!model) not_pulled(text, models);
  const auto names = file_names(*model);
  const bool is_directory_model = std::any_of(
      names.begin(), names.end(), [](const auto& file) { return file.ends_with(".safetensors"); });
  if (name.quant.empty() && is_directory_model) return model->path;
  return model->path / choose_gguf(names, name.repo, name.quant);
}

}  // namespace moxie::io
