// y = sum_i x_i;   dx_i = dy
#include "ops/sum.h"

#include "ops/checks.h"

namespace moxie::ops {
namespace {

Tensor forward(Call& call, std::span<const Tensor> in) {
  check_float("sum", in[0]);
  call.attributes = in[0].shape();
  Tensor y = Tensor::empty({1}, in[0].dtype());
  dispatch_float(y.dtype(), "sum", [&](auto zero) {
    using T = decltype(zero);
    double total = 0;  // one thread, one order: the sum must not depend on the thread count
    for (const T value : in[0].span<T>()) total += static_cast<double>(value);
    *y.data<T>() = static_cast<T>(total);
  });
  return y;
}

std::vector<Tensor> backward(Call& call, const Tensor& dy) {
  Tensor dx = Tensor::empty(attributes_of<Shape>(call), dy.dtype());
  dispatch_float(dy.dtype(), "sum", [&](auto zero) {
    using T = decltype(zero);
    std::fill_n(dx.data<T>(), dx.count(), *dy.data<T>());
  });
  return {dx};
}

std::vector<Sample> samples(Rng& rng) {
  return {{"matrix", {random_normal(rng, {3, 5})}, {}, {true}}};
}

}  // namespace

extern const OpDef sum_entry;
const OpDef sum_entry{"sum of all elements", forward, backward, nullptr, samples};

Tensor sum(const Tensor& x) {
  return record(sum_entry, {&x, 1});
}

}  // namespace moxie::ops
