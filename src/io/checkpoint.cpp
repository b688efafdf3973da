#include "io/checkpoint.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "base/error.h"
#include "base/files.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text_util.h"

namespace moxie::io {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kPrefix = "step-";
constexpr const char* kManifest = "manifest.json";
constexpr const char* kBest = "best";
constexpr int kManifestFormat = 1;

// The step of a folder called step-000123.
std::optional<int64_t> step_of(const std::string& name) {
  if (!name.starts_with(kPrefix) || name.size() == kPrefix.size()) return std::nullopt;
  int64_t step = -1;
  const char* end = name.data() + name.size();
  const auto parsed = std::from_chars(name.data() + kPrefix.size(), end, step);
  if (parsed.ec != std::errc() || parsed.ptr != end || step < 0) return std::nullopt;
  return step;
}

[[noreturn]] void refused(const char* doing, const fs::path& path, const std::error_code& why) {
  fail(ErrorCode::kIo, "checkpoint", "cannot {} '{}': {}; older checkpoints are untouched", doing,
       path.string(), why.message());
}

void remove_quietly(const fs::path& path) {
  std::error_code failed;
  fs::remove_all(path, failed);
  if (failed) {
    spdlog::warn("[checkpoint] cannot delete '{}': {}; delete it by hand", path.string(),
                 failed.message());
  }
}

// fsync of a file that is already written. After a failure the kernel may have dropped the data, so
// a second try would lie: the save has failed (D2).
void sync_file(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const bool is_synced = fd >= 0 && ::fsync(fd) == 0;
  const int why = errno;
  if (fd >= 0) ::close(fd);
  if (!is_synced) refused("sync", path, std::error_code(why, std::generic_category()));
}

std::vector<fs::path> entries_of(const fs::path& folder) {
  std::error_code failed;
  std::vector<fs::path> entries;
  for (fs::directory_iterator it(folder, failed), end; !failed && it != end; it.increment(failed)) {
    entries.push_back(it->path());
  }
  if (failed) refused("list", folder, failed);
  return entries;
}

// Syncs every file and folder below `folder` and returns the manifest's list of them.
Json sync_and_list(const fs::path& folder, const fs::path& root) {
  Json files = Json::object();
  for (const auto& path : entries_of(folder)) {
    if (fs::is_directory(fs::symlink_status(path))) {
      files.update(sync_and_list(path, root));
      continue;
    }
    sync_file(path);
    files[fs::relative(path, root).generic_string()] = {{"size", fs::file_size(path)},
                                                        {"sha256", sha256_of_file(path)}};
  }
  sync_folder(folder);
  return files;
}

bool is_contained(const fs::path& path) {
  return !path.empty() && path.is_relative() &&
         std::none_of(path.begin(), path.end(), [](const fs::path& part) { return part == ".."; });
}

[[noreturn]] void corrupt(const fs::path& path, std::string_view what) {
  fail(ErrorCode::kCorruptData, "checkpoint", "'{}' {}", path.string(), what);
}

// Throws kCorruptData unless every file of the manifest is there, whole; checksums are read only
// when `is_thorough`.
void verify(const CheckpointRef& checkpoint, bool is_thorough) {
  const fs::path path = checkpoint.path / kManifest;
  const Json manifest = read_json_file(path);
  if (!manifest.is_object() || manifest.value("format", Json()) != kManifestFormat ||
      manifest.value("step", Json()) != checkpoint.step || !manifest.contains("files") ||
      !manifest["files"].is_object()) {
    corrupt(path, "is not the manifest of this step");
  }
  for (const auto& [name, entry] : manifest["files"].items()) {
    const fs::path file = checkpoint.path / name;
    if (!is_contained(name) || !entry.is_object() || !entry.contains("size") ||
        !entry["size"].is_number_unsigned() || !entry.contains("sha256") ||
        !entry["sha256"].is_string()) {
      corrupt(path, fmt::format("has a bad entry for '{}'", name));
    }
    std::error_code failed;
    const auto size = fs::file_size(file, failed);
    if (failed == std::errc::permission_denied) refused("read", file, failed);
    if (failed) corrupt(file, "is missing");
    if (size != entry["size"].get<uint64_t>()) {
      corrupt(file, fmt::format("has {} bytes, its manifest says {}", size, entry["size"].dump()));
    }
    if (is_thorough && sha256_of_file(file) != entry["sha256"].get<std::string>()) {
      corrupt(file, "does not match its checksum");
    }
  }
}

// Deletes a folder under construction unless it was published.
struct Temporary {
  fs::path path;
  ~Temporary() {
    if (!path.empty()) remove_quietly(path);
  }
};

}  // namespace

CheckpointStore::CheckpointStore(fs::path folder, int keep)
    : folder_(std::move(folder)), keep_(keep) {
  if (keep_ < 2) {
    fail(ErrorCode::kInvalidArgument, "checkpoint",
         "keep is {}; keep at least 2, since the newest may turn out damaged", keep_);
  }
  std::error_code failed;
  fs::create_directories(folder_, failed);
  if (failed) refused("create", folder_, failed);
  for (const auto& path : entries_of(folder_)) {
    const std::string name = path.filename().string();
    const bool is_unpublished = step_of(name) && !fs::exists(path / kManifest, failed);
    if (is_temporary_name(name) || is_unpublished) remove_quietly(path);
  }
  best();
}

fs::path CheckpointStore::path_of(int64_t step) const {
  return folder_ / fmt::format("{}{:06d}", kPrefix, step);
}

void CheckpointStore::save(int64_t step, const std::function<void(const fs::path&)>& fill) {
  if (step < 0) fail(ErrorCode::kInvalidArgument, "checkpoint", "step {} is negative", step);
  const fs::path path = path_of(step);
  std::error_code failed;
  if (fs::exists(path / kManifest, failed)) return;
  Temporary temporary{path};
  temporary.path += fmt::format(".moxie-tmp-{}", ::getpid());
  MOXIE_ASSERT(is_temporary_name(temporary.path.filename().string()));
  if (!fs::create_directory(temporary.path, failed)) refused("create", temporary.path, failed);
  fill(temporary.path);
  publish(step, temporary.path);
  temporary.path.clear();
  remove_older();
}

void CheckpointStore::publish(int64_t step, const fs::path& temporary) {
  const fs::path path = path_of(step);
  if (fs::exists(temporary / kManifest)) {
    fail(ErrorCode::kInvalidArgument, "checkpoint", "a checkpoint cannot hold a file called {}",
         kManifest);
  }
  const Json files = sync_and_list(temporary, temporary);
  std::error_code failed;
  fs::remove_all(path, failed);  // an unpublished one of the same step
  if (!failed) fs::rename(temporary, path, failed);
  if (failed) refused("name", path, failed);
  try {
    sync_folder(folder_);
    const Json manifest = {{"format", kManifestFormat}, {"step", step}, {"files", files}};
    write_file_atomically(path / kManifest, manifest.dump(2) + "\n");
  } catch (...) {
    remove_quietly(path);
    throw;
  }
  verified_.insert(step);
}

std::vector<CheckpointRef> CheckpointStore::list() const {
  std::vector<CheckpointRef> found;
  std::error_code ignored;
  for (const auto& path : entries_of(folder_)) {
    const auto step = step_of(path.filename().string());
    if (step && fs::exists(path / kManifest, ignored)) found.push_back({*step, path});
  }
  std::sort(found.begin(), found.end(),
            [](const auto& a, const auto& b) { return a.step < b.step; });
  return found;
}

void CheckpointStore::quarantine(const CheckpointRef& checkpoint, const char* reason) const {
  fs::path aside = checkpoint.path;
  aside += ".corrupt";
  for (int i = 2; fs::exists(aside); ++i) {
    aside = checkpoint.path;
    aside += fmt::format(".corrupt-{}", i);
  }
  std::error_code failed;
  fs::rename(checkpoint.path, aside, failed);
  spdlog::warn("{}: {}", reason,
               failed ? "passed over; it could not be renamed"
                      : fmt::format("set aside as '{}'", aside.filename().string()));
}

std::optional<CheckpointRef> CheckpointStore::newest() {
  const auto all = list();
  for (auto it = all.rbegin(); it != all.rend(); ++it) {
    try {
      verify(*it, true);
      verified_.insert(it->step);
      return *it;
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kCorruptData) {
        quarantine(*it, error.what());
      } else {
        spdlog::warn("{}: step {} is passed over", error.what(), it->step);
      }
    }
  }
  return std::nullopt;
}

CheckpointRef CheckpointStore::require(int64_t step) {
  const auto all = list();
  for (const auto& checkpoint : all) {
    if (checkpoint.step != step) continue;
    verify(checkpoint, true);
    return checkpoint;
  }
  std::vector<std::string> steps;
  for (const auto& checkpoint : all) steps.push_back(std::to_string(checkpoint.step));
  fail(ErrorCode::kNotFound, "checkpoint", "'{}' has no step {}; it has {}", folder_.string(), step,
       steps.empty() ? "none" : join(steps, ", "));
}

void CheckpointStore::remove_older() {
  const auto best_step = best();
  auto all = list();
  int valid = 0;
  for (auto it = all.rbegin(); it != all.rend(); ++it) {
    if (valid >= keep_) {
      if (it->step == best_step) continue;
      // Unpublished before it is deleted: a crash half-way must not leave half a checkpoint.
      fs::path doomed = it->path;
      doomed += fmt::format(".moxie-tmp-{}", ::getpid());
      std::error_code failed;
      fs::rename(it->path, doomed, failed);
      remove_quietly(failed ? it->path : doomed);
      continue;
    }
    try {
      verify(*it, !verified_.contains(it->step));
      verified_.insert(it->step);
      ++valid;
    } catch (const Error& error) {
      spdlog::warn("{}: step {} does not count as a checkpoint", error.what(), it->step);
    }
  }
}

void CheckpointStore::mark_best(int64_t step) {
  if (!fs::exists(path_of(step) / kManifest)) {
    fail(ErrorCode::kNotFound, "checkpoint", "step {} cannot be the best: it is not in '{}'", step,
         folder_.string());
  }
  write_file_atomically(folder_ / kBest, std::to_string(step) + "\n");
}

std::optional<int64_t> CheckpointStore::best() {
  std::error_code failed;
  const fs::path pointer = folder_ / kBest;
  if (!fs::exists(pointer, failed)) return std::nullopt;
  std::string text = read_file(pointer, 64);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  const auto step = step_of(std::string(kPrefix) + text);
  if (step && fs::exists(path_of(*step) / kManifest, failed)) return step;
  spdlog::warn("[checkpoint] the best checkpoint, step '{}', is gone; the pointer is cleared",
               text);
  fs::remove(pointer, failed);
  return std::nullopt;
}

}  // namespace moxie::io
