#pragma once
// Progress on standard error. On a terminal one line that is redrawn; elsewhere a plain line now
// and then, so that a log stays short. --quiet silences both.
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "app/cli/verb.h"
#include "base/clock.h"
#include "train/callback.h"

namespace moxie::cli {

class StatusLine {
 public:
  explicit StatusLine(const Context& context);
  ~StatusLine() { clear(); }
  StatusLine(const StatusLine&) = delete;
  StatusLine& operator=(const StatusLine&) = delete;

  bool is_live() const { return is_live_; }
  bool is_quiet() const { return is_quiet_; }
  // Redraws on a terminal, at most ten times a second unless `now`; elsewhere prints the line when
  // ten seconds have passed since the last one, or `now`.
  void set(const std::string& text, bool now = false);
  void say(const std::string& text);  // a line that stays
  void clear();
  int width() const { return width_; }
  const Terminal& terminal() const { return terminal_; }

 private:
  Terminal terminal_;
  bool is_live_, is_quiet_, is_drawn_ = false;
  int width_;
  std::chrono::steady_clock::time_point last_{};
};

// "[#####-----]" for a share of 0 to 1, in the block characters of a UTF-8 terminal.
std::string bar(double share, int width);

// A training run: bar, loss, tokens/s, time left, peak memory; evaluations and messages as lines.
class TrainProgress final : public train::Callback {
 public:
  explicit TrainProgress(const Context& context) : line_(context) {}
  void on_step(const train::StepMetrics& metrics, int64_t total_steps,
               double seconds_left) override;
  void on_eval(const train::EvalMetrics& metrics) override;
  void on_log(const std::string& message) override;
  void on_end(const train::TrainResult& result) override;

 private:
  StatusLine line_;
};

// Counts things done of a known number: samples scored, bytes downloaded.
class CountProgress {
 public:
  CountProgress(const Context& context, std::string what, bool is_bytes = false)
      : line_(context), what_(std::move(what)), is_bytes_(is_bytes) {}
  void update(uint64_t done, uint64_t total);  // total 0: not known
  void clear() { line_.clear(); }

 private:
  StatusLine line_;
  std::string what_;
  bool is_bytes_, is_complete_ = false;
  Stopwatch clock_;
};

}  // namespace moxie::cli
