#pragma once
// What a run learns: the loop hands it micro-batches and never looks inside. One objective a kind
// of training (causal LM, preference, reward...); the loop, its checkpoints and its metrics stay
// the same.
#include <cstdint>
#include <vector>

#include "data/sample.h"
#include "nn/param.h"

namespace moxie::train {

struct LossSum {
  double loss = 0;     // summed over the learnt tokens, not averaged
  int64_t tokens = 0;  // learnt tokens
};

class Objective {
 public:
  virtual ~Objective() = default;
  // The trainable state; the same list, in the same order, for the whole run.
  virtual nn::ParamList params() = 0;
  // How much one sample weighs in the mean over a batch; a sample of weight 0 is skipped.
  virtual int64_t loss_tokens(const data::Sample& sample) const { return sample.learnt_count(); }
  // Runs the samples as one ragged batch. With `with_gradient`, adds the gradient of `weight` times
  // the summed loss to the params' gradients (which may be blank: nn/param.h) and applies dropout
  // drawn from `dropout_seed`; without it, it evaluates: no dropout, no gradient.
  virtual LossSum forward_backward(const std::vector<const data::Sample*>& micro_batch,
                                   double weight, uint64_t dropout_seed, bool with_gradient) = 0;
};

}  // namespace moxie::train
