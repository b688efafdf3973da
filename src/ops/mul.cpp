// y = a * b;   da = dy * b, db = dy * a
#include "ops/mul.h"

#include "base/threads.h"
#include "ops/checks.h"

namespace moxie::ops {
namespace {

Tensor product(const Tensor& left, const Tensor& right) {
  Tensor y = Tensor::empty(left.shape(), left.dtype());
  dispatch_float(y.dtype(), "mul", [&](auto zero) {
    using T = decltype(zero);
    const T* a = left.data<T>();
    const T* b = right.data<T>();
    T* out = y.data<T>();
    parallel_for(y.count(), kElementGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) out[i] = a[i] * b[i];
    });
  });
  return y;
}

Tensor forward(Call& call, std::span<const Tensor> in) {
  check_same("mul", in[0], in[1]);
  call.saved = {call.wanted[1] ? in[0] : Tensor(), call.wanted[0] ? in[1] : Tensor()};
  return product(in[0], in[1]);
}

std::vector<Tensor> backward(Call& call, const Tensor& dy) {
  return {call.wanted[0] ? product(dy, call.saved[1]) : Tensor(),
          call.wanted[1] ? product(dy, call.saved[0]) : Tensor()};
}

std::vector<Sample> samples(Rng& rng) {
  return {{"matrix", {random_normal(rng, {3, 5}), random_normal(rng, {3, 5})}, {}, {true, true}},
          {"left only", {random_normal(rng, {7}), random_normal(rng, {7})}, {}, {true, false}}};
}

}  // namespace

extern const OpDef mul_entry;
const OpDef mul_entry{"elementwise product of two tensors of one shape", forward, backward, nullptr,
                      samples};

Tensor mul(const Tensor& a, const Tensor& b) {
  const Tensor inputs[] = {a, b};
  return record(mul_entry, inputs);
}

}  // namespace moxie::ops
