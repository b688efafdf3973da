#pragma once
// The diary of runs: one SQLite file, data_folder()/runs.db. Keeping it never fails a run: when the
// file is locked, unwritable or damaged, the recorder warns once and the run goes on unrecorded.
// Reading it (list, find) throws as everything else does.
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace moxie::recipes {

struct RunRecord {
  int64_t id = 0;
  std::string started, finished;  // UTC; finished is empty while it runs
  std::string status;             // running, done, failed, interrupted; lost: its process is gone
  std::string verb, model, method, out;
  Json config = Json::object();
  Json metrics = Json::object();  // final ones
  std::string version, host;
};

std::filesystem::path runs_file();

// Writes one run: a row when it begins, its end when it is known. Without finish() (an exception on
// the way) the destructor records a failure.
class RunRecorder {
 public:
  // Fills started, host and version itself. Warns instead of throwing.
  explicit RunRecorder(const RunRecord& run);
  ~RunRecorder();
  RunRecorder(const RunRecorder&) = delete;
  RunRecorder& operator=(const RunRecorder&) = delete;
  void finish(std::string_view status, const Json& metrics) noexcept;
  int64_t id() const { return id_; }  // 0 when the run is not recorded

 private:
  int64_t id_ = 0;
  bool is_finished_ = false;
};

std::vector<RunRecord> list_runs(int64_t limit = 0);  // newest first; 0: all; none without a file
RunRecord require_run(int64_t id);                    // throws kNotFound
void forget_run(int64_t id);                          // throws kNotFound

}  // namespace moxie::recipes
