#pragma once
// What the loop tells those who watch it: progress bars, reports, tests. A callback that throws
// ends the run with its error.
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "base/json.h"

namespace moxie::train {

struct StepMetrics {
  int64_t step = 0;  // from 1
  double epoch = 0;  // epochs completed, as a fraction
  double loss = 0;   // mean over the learnt tokens of the whole optimizer batch
  double learning_rate = 0;
  double grad_norm = 0;  // before clipping
  int64_t tokens = 0;    // that ran in this step
  int64_t learnt_tokens = 0;
  int64_t tokens_seen = 0;  // since the start of the run
  double seconds = 0;
  double tokens_per_second = 0;
  double peak_rss_mib = 0;
};

struct EvalMetrics {
  int64_t step = 0;
  double epoch = 0;
  double loss = 0;  // mean over the learnt tokens of the held-out samples
  double perplexity = 0;
  int64_t learnt_tokens = 0;
  bool is_best = false;
  double seconds = 0;
};

enum class Outcome { kFinished, kStoppedEarly, kInterrupted };
std::string_view to_string(Outcome outcome);

struct TrainResult {
  Outcome outcome = Outcome::kFinished;
  int64_t step = 0;
  int64_t total_steps = 0;
  int64_t tokens_seen = 0;
  double seconds = 0;  // of this process
  std::optional<double> last_loss;
  std::optional<int64_t> best_step;
  std::optional<double> best_loss;
};

// One line of metrics.jsonl, of eval.jsonl; `seconds`, `tokens_per_second` and `peak_rss_mib` are
// the only keys that differ between two runs of the same configuration.
Json to_json(const StepMetrics& metrics);
Json to_json(const EvalMetrics& metrics);

class Callback {
 public:
  virtual ~Callback() = default;
  // `seconds_left` is what the rest of the run is expected to take.
  virtual void on_step(const StepMetrics& metrics, int64_t total_steps, double seconds_left) {
    (void)metrics, (void)total_steps, (void)seconds_left;
  }
  virtual void on_eval(const EvalMetrics& metrics) { (void)metrics; }
  virtual void on_checkpoint(int64_t step, const std::filesystem::path& path) {
    (void)step, (void)path;
  }
  virtual void on_log(const std::string& message) { (void)message; }
  virtual void on_end(const TrainResult& result) { (void)result; }
};

}  // namespace moxie::train
