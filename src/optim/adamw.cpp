// AdamW (Loshchilov and Hutter, 2019), as torch.optim.AdamW computes it:
//   p *= 1 - lr * decay;  m += (1 - b1)(g - m);  v = b2 v + (1 - b2) g^2
//   p -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)
// The scalars are made in double and rounded once, as Python does; default decay is 0, as in
// transformers' Trainer (torch's own is 0.01).
#include <cmath>

#include "kernels/rowwise.h"
#include "optim/optimizer.h"

namespace moxie::optim {
namespace {

struct AdamwOptions {
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0.0;
  void visit(auto& v) {
    v("beta1", beta1, "decay of the mean of the gradients", range(0, 0.999999));
    v("beta2", beta2, "decay of the mean of their squares", range(0, 0.99999999));
    v("epsilon", epsilon, "added to the root of the mean square", at_least(0));
    v("weight_decay", weight_decay, "decoupled weight decay", range(0, 10));
  }
};

class Adamw final : public Optimizer {
 public:
  std::vector<Option> options() override { return list_options(options_); }
  std::vector<std::string> state_names() const override { return {"exp_avg", "exp_avg_sq"}; }

 protected:
  void update(const UpdateContext& context, const Slice& slice) const override {
    const double step = static_cast<double>(context.step);
    const double correction1 = 1 - std::pow(options_.beta1, step);
    const double correction2 = 1 - std::pow(options_.beta2, step);
    const double decay = context.decays ? options_.weight_decay : 0.0;
    const kernels::AdamwStep<float> numbers{
        .factor = context.gradient_factor,
        .mix1 = static_cast<float>(1 - options_.beta1),
        .beta2 = static_cast<float>(options_.beta2),
        .mix2 = static_cast<float>(1 - options_.beta2),
        .keep = static_cast<float>(1 - context.learning_rate * decay),
        .size = static_cast<float>(-context.learning_rate / correction1),
        .root2 = static_cast<float>(std::sqrt(correction2)),
        .epsilon = static_cast<float>(options_.epsilon)};
    kernels::row_kernels<float>().adamw(numbers, slice.gradient, slice.value, slice.state[0],
                                        slice.state[1], slice.count);
  }

 private:
  AdamwOptions options_;
};

}  // namespace

extern const OptimizerDef adamw_entry;
const OptimizerDef adamw_entry{
    "Adam with decoupled weight decay",
    "Loshchilov and Hutter, Decoupled Weight Decay Regularization (2019); torch.optim.AdamW",
    []() -> std::unique_ptr<Optimizer> { return std::make_unique<Adamw>(); }};

}  // namespace moxie::optim
