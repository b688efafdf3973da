#pragma once
// Checkpoints on disk: folder/step-000123/ with files and, published last, manifest.json (sizes and
// SHA-256 of every file). No manifest, no checkpoint. Rules D1 to D10 of docs/hardening.md.
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <set>
#include <vector>

namespace moxie::io {

struct CheckpointRef {
  int64_t step = 0;
  std::filesystem::path path;
};

class CheckpointStore {
 public:
  // Creates the folder; removes orphaned temporaries and unpublished checkpoints of a crash. At
  // least two are kept: the newest may turn out damaged. One process at a time writes to a folder.
  explicit CheckpointStore(std::filesystem::path folder, int keep = 2);

  // `fill` writes its files into the folder it is given; then all is synced, the manifest is
  // published, and older valid checkpoints beyond `keep` (never the best one) are deleted. A step
  // that is already there is left as it is. On failure the partial one is removed and the error
  // passes on.
  void save(int64_t step, const std::function<void(const std::filesystem::path&)>& fill);
  // The newest valid one; a corrupt one on the way is renamed to <name>.corrupt and warned about,
  // one that cannot be read is warned about and passed over.
  std::optional<CheckpointRef> newest();
  CheckpointRef require(int64_t step);      // throws kNotFound, or kCorruptData
  std::vector<CheckpointRef> list() const;  // published ones, by step
  void mark_best(int64_t step);             // a file `best` with the step
  std::optional<int64_t> best();            // a dangling pointer is warned about and cleared

 private:
  std::filesystem::path path_of(int64_t step) const;
  void publish(int64_t step, const std::filesystem::path& temporary);
  void quarantine(const CheckpointRef& checkpoint, const char* reason) const;
  void remove_older();
  std::filesystem::path folder_;
  int keep_;
  std::set<int64_t> verified_;  // steps whose checksums this process has computed
};

}  // namespace moxie::io
