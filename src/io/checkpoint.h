#pragma once
// Checkpoints on disk: folder/step-000123/ with files and, published last, manifest.json (sizes and
// SHA-256 of every file). No manifest, no checkpoint. Rules D1 to D10 of docs/hardening.md.
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <vector>

#include "base/json.h"

namespace moxie::io {

struct CheckpointRef {
  int64_t step = 0;
  std::filesystem::path path;
};

class CheckpointStore {
 public:
  // Creates the folder; removes orphaned temporaries and unpublished checkpoints of a crash.
  explicit CheckpointStore(std::filesystem::path folder, int keep = 2);

  // `fill` writes its files into the folder it is given; then all is synced, the manifest is
  // published, and older valid checkpoints beyond `keep` (never the best one) are deleted. A step
  // that is already there is left as it is. On failure the partial one is removed and the error
  // passes on.
  void save(int64_t step, const std::function<void(const std::filesystem::path&)>& fill);
  // The newest valid one; a corrupt one on the way is renamed to <name>.corrupt and warned about.
  std::optional<CheckpointRef> newest();
  CheckpointRef require(int64_t step);      // throws kNotFound, or kCorruptData
  std::vector<CheckpointRef> list() const;  // published ones, by step
  void mark_best(int64_t step);             // a file `best` with the step
  std::optional<int64_t> best();            // a dangling pointer is warned about and cleared

 private:
  std::filesystem::path folder_;
  int keep_;
};

}  // namespace moxie::io
