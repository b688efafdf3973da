// y = f x;   dx = f dy
#include "ops/scale.h"

#include "base/threads.h"
#include "ops/checks.h"

namespace moxie::ops {
namespace {

Tensor times(const Tensor& x, double factor) {
  Tensor y = Tensor::empty(x.shape(), x.dtype());
  dispatch_float(x.dtype(), "scale", [&](auto zero) {
    using T = decltype(zero);
    const T* in = x.data<T>();
    T* out = y.data<T>();
    const T f = static_cast<T>(factor);
    parallel_for(x.count(), kElementGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) out[i] = in[i] * f;
    });
  });
  return y;
}

Tensor forward(Call& call, std::span<const Tensor> in) {
  check_float("scale", in[0]);
  return times(in[0], attributes_of<double>(call));
}

std::vector<Tensor> backward(Call& call, const Tensor& dy) {
  return {times(dy, attributes_of<double>(call))};
}

std::vector<Sample> samples(Rng& rng) {
  return {{"-1.5", {random_normal(rng, {2, 4})}, -1.5, {true}}};
}

}  // namespace

extern const OpDef scale_entry;
const OpDef scale_entry{"product with a constant", forward, backward, nullptr, samples};

Tensor scale(const Tensor& x, double factor) {
  return record(scale_entry, {&x, 1}, factor);
}

}  // namespace moxie::ops
