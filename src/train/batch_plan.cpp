#include "train/batch_plan.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/hash.h"

namespace moxie::train {
namespace {

int64_t length_of(const data::Sample& sample) {
  return static_cast<int64_t>(sample.tokens.size());
}

}  // namespace

BatchPlan::BatchPlan(const SampleSource& source, const Objective& objective,
                     const TrainOptions& options)
    : source_(source),
      objective_(objective),
      batch_size_(options.batch_size),
      step_size_(options.batch_size * options.accumulate),
      micro_tokens_(options.micro_tokens) {
  for (int64_t i = 0; i < source.size(); ++i) {
    empty_samples_ += objective.loss_tokens(source.sample(i)) == 0 ? 1 : 0;
  }
  if (source.size() == empty_samples_) {
    fail(ErrorCode::kInvalidArgument, "train",
         "none of the {} samples has a token to learn; look at the data's answers, and at the "
         "length "
         "limit that may have cut them off",
         source.size());
  }
  // Files may be weighted: an epoch is what its order says, not every sample once.
  for (const int64_t index : order(0)) {
    const data::Sample& sample = source.sample(index);
    if (objective.loss_tokens(sample) > 0) epoch_tokens_ += length_of(sample);
  }
  const auto samples = static_cast<int64_t>(order(0).size());
  steps_per_epoch_ = (samples + step_size_ - 1) / step_size_;
  total_steps_ =
      options.steps > 0
          ? options.steps
          : static_cast<int64_t>(std::ceil(options.epochs * static_cast<double>(steps_per_epoch_)));
}

int64_t BatchPlan::cursor_of(int64_t step) const {
  return (step % steps_per_epoch_) * step_size_;
}

const std::vector<int64_t>& BatchPlan::order(int64_t epoch) {
  if (epoch != cached_epoch_) {
    cached_order_ = source_.order(epoch);
    cached_epoch_ = epoch;
    for (const int64_t index : cached_order_) MOXIE_ASSERT(index >= 0 && index < source_.size());
    MOXIE_ASSERT(!cached_order_.empty());
  }
  return cached_order_;
}

StepBatch BatchPlan::batch(int64_t step) {
  const auto& indices = order(epoch_of(step));
  const auto end = static_cast<int64_t>(indices.size());
  const int64_t begin = cursor_of(step);
  StepBatch result;
  for (int64_t at = begin; at < std::min(end, begin + step_size_); at += batch_size_) {
    std::vector<const data::Sample*> samples;
    for (int64_t i = at; i < std::min(end, at + batch_size_); ++i) {
      const data::Sample& sample = source_.sample(indices[static_cast<size_t>(i)]);
      const int64_t learnt = objective_.loss_tokens(sample);
      if (learnt == 0) continue;
      result.learnt_tokens += learnt;
      samples.push_back(&sample);
    }
    for (auto& micro : split_micro_batches(samples, batch_size_, micro_tokens_)) {
      result.micro_batches.push_back(std::move(micro));
    }
  }
  return result;
}

std::string BatchPlan::order_digest(int64_t epoch) {
  const auto& indices = order(epoch);
  return sha256_hex(
      {reinterpret_cast<const char*>(indices.data()), indices.size() * sizeof(int64_t)});
}

std::vector<MicroBatch> split_micro_batches(const std::vector<const data::Sample*>& samples,
                                            int64_t batch_size, int64_t micro_tokens) {
  std::vector<MicroBatch> batches;
  int64_t tokens = 0;
  for (const data::Sample* sample : samples) {
    const bool fits = !batches.empty() && tokens + length_of(*sample) <= micro_tokens &&
                      static_cast<int64_t>(batches.back().size()) < batch_size;
    if (!fits) {
      batches.emplace_back();
      tokens = 0;
    }
    batches.back().push_back(sample);
    tokens += length_of(*sample);
  }
  return batches;
}

}  // namespace moxie::train
