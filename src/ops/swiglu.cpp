// y = f(g) * u;   dg = dy * u * f'(g), du = dy * f(g)
#include "ops/swiglu.h"

#include "base/threads.h"
#include "ops/checks.h"

namespace moxie::ops {
namespace {

Tensor forward(Call& call, std::span<const Tensor> in) {
  check_same("swiglu", in[0], in[1]);
  const auto kind = attributes_of<Activation>(call);
  if (call.any_wanted()) call.saved = {in[0], in[1]};
  Tensor y = Tensor::empty(in[0].shape(), in[0].dtype());
  dispatch_float(y.dtype(), "swiglu", [&](auto zero) {
    using T = decltype(zero);
    const T* g = in[0].data<T>();
    const T* u = in[1].data<T>();
    T* out = y.data<T>();
    parallel_for(y.count(), kElementGrain / 4, [&](int64_t begin, int64_t end) {
      kernels::row_kernels<T>().gate(kind, g + begin, u + begin, out + begin, end - begin);
    });
  });
  return y;
}

std::vector<Tensor> backward(Call& call, const Tensor& dy) {
  const auto kind = attributes_of<Activation>(call);
  const Tensor& gate = call.saved[0];
  const Tensor& up = call.saved[1];
  Tensor dg = Tensor::empty(gate.shape(), gate.dtype());
  Tensor du = Tensor::empty(gate.shape(), gate.dtype());
  dispatch_float(gate.dtype(), "swiglu", [&](auto zero) {
    using T = decltype(zero);
    const T* g = gate.data<T>();
    const T* u = up.data<T>();
    const T* d = dy.data<T>();
    T* out_g = dg.data<T>();
    T* out_u = du.data<T>();
    parallel_for(gate.count(), kElementGrain / 4, [&](int64_t begin, int64_t end) {
      kernels::row_kernels<T>().gate_backward(kind, g + begin, u + begin, d + begin, out_g + begin,
                                              out_u + begin, nullptr, end - begin);
    });
  });
  return {dg, du};
}

std::vector<Sample> samples(Rng& rng) {
  std::vector<Sample> list;
  for (const auto kind : {Activation::kSilu, Activation::kGeluTanh, Activation::kGelu}) {
    list.push_back({"matrix",
                    {random_normal(rng, {3, 5}, 2), random_normal(rng, {3, 5})},
                    kind,
                    {true, true}});
  }
  return list;
}

}  // namespace

extern const OpDef swiglu_entry;
const OpDef swiglu_entry{"act(gate) * up", forward, backward, nullptr, samples};

Tensor swiglu(const Tensor& gate, const Tensor& up, Activation activation) {
  const Tensor inputs[] = {gate, up};
  return record(swiglu_entry, inputs, activation);
}

}  // namespace moxie::ops
