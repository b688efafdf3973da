// Stochastic gradient descent with momentum, as torch.optim.SGD computes it:
//   g += decay * p;  b = momentum * b + (1 - dampening) g  (the first step: b = g)
//   p -= lr * (nesterov ? g + momentum * b : b)
#include "optim/optimizer.h"

namespace moxie::optim {
namespace {

struct SgdOptions {
  double momentum = 0.0, dampening = 0.0, weight_decay = 0.0;
  bool nesterov = false;
  void visit(auto& v) {
    v("momentum", momentum, "share of the last direction that is kept", range(0, 1));
    v("dampening", dampening, "share of the gradient kept out of the momentum", range(0, 1));
    v("weight_decay", weight_decay, "decay added to the gradient", range(0, 10));
    v("nesterov", nesterov, "look ahead along the momentum");
  }
};

class Sgd final : public Optimizer {
 public:
  std::vector<Option> options() override { return list_options(options_); }
  std::vector<std::string> state_names() const override {
    check();
    return options_.momentum != 0 ? std::vector<std::string>{"momentum_buffer"}
                                  : std::vector<std::string>{};
  }

 protected:
  void update(const UpdateContext& context, const Slice& slice) const override {
    const auto rate = static_cast<float>(-context.learning_rate);
    const auto decay = static_cast<float>(context.decays ? options_.weight_decay : 0.0);
    const auto momentum = static_cast<float>(options_.momentum);
    const float factor = context.gradient_factor;
    if (momentum == 0) {
      for (int64_t i = 0; i < slice.count; ++i) {
        slice.value[i] += rate * (factor * slice.gradient[i] + decay * slice.value[i]);
      }
      return;
    }
    const float fresh = context.step == 1 ? 1.0F : static_cast<float>(1 - options_.dampening);
    float* buffer = slice.state[0];
    for (int64_t i = 0; i < slice.count; ++i) {
      const float g = factor * slice.gradient[i] + decay * slice.value[i];
      buffer[i] = buffer[i] * momentum + fresh * g;
      slice.value[i] += rate * (options_.nesterov ? g + momentum * buffer[i] : buffer[i]);
    }
  }

 private:
  void check() const {
    if (options_.nesterov && (options_.momentum == 0 || options_.dampening != 0)) {
      fail(ErrorCode::kInvalidArgument, "sgd",
           "nesterov needs momentum above 0 and dampening 0, but they are {} and {}; set momentum "
           "0.9, or nesterov off",
           options_.momentum, options_.dampening);
    }
  }
  SgdOptions options_;
};

}  // namespace

extern const OptimizerDef sgd_entry;
const OptimizerDef sgd_entry{
    "stochastic gradient descent with momentum",
    "Sutskever et al., On the importance of initialization and momentum (2013); torch.optim.SGD",
    []() -> std::unique_ptr<Optimizer> { return std::make_unique<Sgd>(); }};

}  // namespace moxie::optim
