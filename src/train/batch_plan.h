#pragma once
// Which samples each optimizer step takes, and how they split into micro-batches. A step takes
// batch_size * accumulate samples of the epoch's order (fewer at an epoch's end); a micro-batch is
// whole samples of one batch, up to `micro_tokens` tokens (a longer sample runs alone).
#include <cstdint>
#include <string>
#include <vector>

#include "train/objective.h"
#include "train/sample_source.h"
#include "train/train_options.h"

namespace moxie::train {

using MicroBatch = std::vector<const data::Sample*>;

struct StepBatch {
  std::vector<MicroBatch> micro_batches;  // without the samples that have nothing to learn
  int64_t learnt_tokens = 0;              // of all of them: what the loss is averaged over
};

class BatchPlan {
 public:
  BatchPlan(const SampleSource& source, const Objective& objective, const TrainOptions& options);

  int64_t steps_per_epoch() const { return steps_per_epoch_; }
  int64_t total_steps() const { return total_steps_; }
  int64_t epoch_tokens() const { return epoch_tokens_; }    // that one epoch runs
  int64_t empty_samples() const { return empty_samples_; }  // with nothing to learn
  int64_t epoch_of(int64_t step) const { return step / steps_per_epoch_; }
  // Samples of the epoch that were taken before this step.
  int64_t cursor_of(int64_t step) const;
  bool ends_epoch(int64_t step) const { return step > 0 && step % steps_per_epoch_ == 0; }

  StepBatch batch(int64_t step);            // of step `step`, counted from 0
  std::string order_digest(int64_t epoch);  // SHA-256 of the epoch's order

 private:
  const std::vector<int64_t>& order(int64_t epoch);
  const SampleSource& source_;
  const Objective& objective_;
  int64_t batch_size_, step_size_, micro_tokens_;
  int64_t steps_per_epoch_ = 0, total_steps_ = 0, epoch_tokens_ = 0, empty_samples_ = 0;
  int64_t cached_epoch_ = -1;
  std::vector<int64_t> cached_order_;
};

// Splits samples in order: at most `batch_size` samples and `micro_tokens` tokens each.
std::vector<MicroBatch> split_micro_batches(const std::vector<const data::Sample*>& samples,
                                            int64_t batch_size, int64_t micro_tokens);

}  // namespace moxie::train
