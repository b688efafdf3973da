// y = x * sigmoid(x);   dx = dy * s * (1 + x * (1 - s))
#include "ops/silu.h"

#include "ops/elementwise.h"

namespace moxie::ops {
namespace {

Tensor forward(Call& call, std::span<const Tensor> in) {
  return activation_forward("silu", Activation::kSilu, call, in[0]);
}

std::vector<Tensor> backward(Call& call, const Tensor& dy) {
  return {activation_backward(Activation::kSilu, call, dy)};
}

std::vector<Sample> samples(Rng& rng) {
  return {{"matrix", {random_normal(rng, {3, 7}, 2)}, {}, {true}}};
}

}  // namespace

extern const OpDef silu_entry;
const OpDef silu_entry{"x * sigmoid(x)", forward, backward, nullptr, samples};

Tensor silu(const Tensor& x) {
  return record(silu_entry, {&x, 1});
}

}  // namespace moxie::ops
