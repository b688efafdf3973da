// y = x Phi(x), Phi by the error function or by tanh (Hendrycks and Gimpel, 2016)
#include "ops/gelu.h"

#include "ops/elementwise.h"

namespace moxie::ops {
namespace {

Tensor forward(Call& call, std::span<const Tensor> in) {
  return activation_forward("gelu", attributes_of<Activation>(call), call, in[0]);
}

std::vector<Tensor> backward(Call& call, const Tensor& dy) {
  return {activation_backward(attributes_of<Activation>(call), call, dy)};
}

std::vector<Sample> samples(Rng& rng) {
  return {{"tanh", {random_normal(rng, {3, 7}, 2)}, Activation::kGeluTanh, {true}},
          {"erf", {random_normal(rng, {3, 7}, 2)}, Activation::kGelu, {true}}};
}

}  // namespace

extern const OpDef gelu_entry;
const OpDef gelu_entry{"x * Phi(x), by erf or tanh", forward, backward, nullptr, samples};

Tensor gelu(const Tensor& x, Activation kind) {
  return record(gelu_entry, {&x, 1}, kind);
}

}  // namespace moxie::ops
