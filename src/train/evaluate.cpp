#include "train/evaluate.h"

#include "base/error.h"
#include "train/batch_plan.h"

namespace moxie::train {

std::optional<LossSum> evaluate_loss(Objective& objective, const SampleSource& source,
                                     int64_t micro_tokens, const std::function<bool()>& stop) {
  std::vector<const data::Sample*> samples;
  for (int64_t i = 0; i < source.size(); ++i) {
    const data::Sample& sample = source.sample(i);
    if (objective.loss_tokens(sample) > 0) samples.push_back(&sample);
  }
  if (samples.empty()) {
    fail(
        ErrorCode::kInvalidArgument, "eval",
        "none of the {} held-out samples has a token to predict; look at their answers, and at the "
        "length limit that may have cut them off",
        source.size());
  }
  LossSum total;
  for (const auto& micro : split_micro_batches(samples, source.size(), micro_tokens)) {
    if (stop && stop()) return std::nullopt;
    const LossSum part = objective.forward_backward(micro, 0.0, 0, false);
    total.loss += part.loss;
    total.tokens += part.tokens;
  }
  return total;
}

}  // namespace moxie::train
