#include "train/causal_lm.h"

#include "ops/scale.h"
#include "ops/tape.h"

namespace moxie::train {
namespace {

struct Labelled {
  nn::Batch batch;
  std::vector<int64_t> labels;  // of row i: token i + 1, or -1
  int64_t learnt = 0;
};

Labelled join(const std::vector<const data::Sample*>& samples) {
  Labelled all;
  for (const data::Sample* sample : samples) {
    all.batch.add(sample->tokens);
    for (size_t i = 0; i < sample->tokens.size(); ++i) {
      const bool is_learnt = i + 1 < sample->tokens.size() && sample->is_learnt[i + 1] != 0;
      all.labels.push_back(is_learnt ? sample->tokens[i + 1] : -1);
      all.learnt += is_learnt ? 1 : 0;
    }
  }
  return all;
}

double scalar(const Tensor& x) {
  return dispatch_float(x.dtype(), "loss",
                        [&](auto zero) { return static_cast<double>(*x.data<decltype(zero)>()); });
}

}  // namespace

LossSum CausalLm::forward_backward(const std::vector<const data::Sample*>& micro_batch,
                                   double weight, uint64_t dropout_seed, bool with_gradient) {
  Labelled all = join(micro_batch);
  nn::ForwardOptions options;
  options.is_training = with_gradient;
  options.recomputes = recomputes_;
  options.dropout_seed = dropout_seed;
  if (!with_gradient) {
    const ops::NoTape quiet;
    const Tensor hidden = decoder_.forward(all.batch, options);
    return {scalar(decoder_.loss(hidden, std::move(all.labels), options)), all.learnt};
  }
  ops::Tape tape;
  const Tensor hidden = decoder_.forward(all.batch, options);
  const Tensor loss = decoder_.loss(hidden, std::move(all.labels), options);
  const Tensor weighted = ops::scale(loss, weight);
  if (weighted.var != 0) tape.backward(weighted);
  return {scalar(loss), all.learnt};
}

}  // namespace moxie::train
