#pragma once
// The one training loop. It draws micro-batches, adds up gradients, clips, steps, measures,
// evaluates, saves; what is learnt is the Objective's business, who watches is a Callback.
//
// Folder of a run: metrics.jsonl (a line a step), eval.jsonl (a line an evaluation), checkpoints/.
// A run that was killed or interrupted anywhere and then resumed ends with the same bits as one
// that was not: state is saved whole at step boundaries, and between two micro-batches of a step
// together with the gradients so far.
#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "io/checkpoint.h"
#include "train/batch_plan.h"
#include "train/callback.h"
#include "train/eta.h"
#include "train/json_lines.h"
#include "train/objective.h"
#include "train/run_state.h"
#include "train/sample_source.h"
#include "train/train_options.h"

namespace moxie::train {

struct TrainSetup {
  Objective* objective = nullptr;
  const SampleSource* data = nullptr;
  const SampleSource* held_out = nullptr;       // may be null: no evaluation
  std::unique_ptr<optim::Optimizer> optimizer;  // with its options set; not yet attached
  std::filesystem::path folder;
  Facts facts;  // of the model and the method: what else must be equal to resume
  std::vector<Callback*> callbacks;
  std::function<bool()> stop_requested;  // such as StopSignal::requested; may be empty
};

class Trainer {
 public:
  // Checks everything that can be checked before the first step.
  Trainer(TrainOptions options, TrainSetup setup);

  // Trains to the end, an early stop or an interruption. Without `resume`, a folder that holds
  // checkpoints is an error; with it, the newest valid one goes on (none: a fresh start). A loss or
  // gradient that is not finite throws kInvalidArgument with advice; the params are then as they
  // were before that step, and saved if nothing was saved before.
  TrainResult run(bool resume);
  // Loads the params of the best evaluation's checkpoint; its step, or nothing without one.
  std::optional<int64_t> restore_best();

  int64_t total_steps() const { return plan_.total_steps(); }
  const BatchPlan& plan() const { return plan_; }
  const optim::Schedule& schedule() const { return schedule_; }
  const io::CheckpointStore& checkpoints() const { return store_; }

 private:
  void start_afresh();
  bool resume_newest();
  void mark_best_again(int64_t step);
  bool run_step();  // false when a stop was asked for on the way
  bool run_micro_batches(const StepBatch& batch);
  void finish_step(const StepBatch& batch, double seconds);
  bool is_eval_due() const;
  bool evaluate();  // false when a stop was asked for on the way
  bool is_save_due() const;
  void save();
  bool is_done() const;
  bool is_stop_requested() const { return setup_.stop_requested && setup_.stop_requested(); }
  void report_step(const StepMetrics& metrics);
  double tokens_left() const;
  int64_t evaluations_left() const;
  TrainResult leave(Outcome outcome);
  [[noreturn]] void stop_diverged(int64_t step, std::string_view what, double value);
  void log(const std::string& message);
  Facts all_facts() const;

  TrainOptions options_;
  TrainSetup setup_;
  BatchPlan plan_;
  optim::Schedule schedule_;
  io::CheckpointStore store_;
  Facts facts_;
  RunState state_;
  EtaEstimator eta_;
  std::unique_ptr<JsonLines> metrics_, evals_;
  Stopwatch clock_;
  int64_t saved_step_ = -1;
};

}  // namespace moxie::train
