// y = x W^T;   dx = dy W, dW = dy^T x
#include "ops/dense.h"

#include "ops/checks.h"

namespace moxie::ops {
namespace {

using kernels::Arithmetic;

Tensor forward(Call& call, std::span<const Tensor> in) {
  const Tensor& x = in[0];
  const Tensor& w = in[1];
  check_float("dense", x);
  check_float("dense", w);
  if (w.shape().rank() != 2 || x.cols() != w.cols() || x.dtype() != w.dtype()) {
    fail(ErrorCode::kInvalidArgument, "dense", "{} {} times the transpose of {} {} does not fit",
         name_of(x.dtype()), x.shape().to_string(), name_of(w.dtype()), w.shape().to_string());
  }
  call.saved = {call.wanted[1] ? x : Tensor(), call.wanted[0] ? w : Tensor()};
  Tensor y = Tensor::empty({x.rows(), w.rows()}, x.dtype());
  dispatch_float(y.dtype(), "dense", [&](auto zero) {
    using T = decltype(zero);
    kernels::gemm_nt(x.rows(), w.rows(), x.cols(), x.data<T>(), w.data<T>(), y.data<T>(), false,
                     T{1}, attributes_of<Arithmetic>(call));
  });
  return y;
}

std::vector<Tensor> backward(Call& call, const Tensor& dy) {
  const auto arithmetic = attributes_of<Arithmetic>(call);
  Tensor dx;
  Tensor dw;
  dispatch_float(dy.dtype(), "dense", [&](auto zero) {
    using T = decltype(zero);
    if (const Tensor& w = call.saved[1]; w.defined()) {
      const bool adds = call.gathered[0].defined();
      dx = call.gradient_of(0, {dy.rows(), w.cols()}, dy.dtype());
      kernels::gemm_nn(dy.rows(), w.cols(), dy.cols(), dy.data<T>(), w.data<T>(), dx.data<T>(),
                       adds, T{1}, arithmetic);
    }
    if (const Tensor& x = call.saved[0]; x.defined()) {
      const bool adds = call.gathered[1].defined();
      dw = call.gradient_of(1, {dy.cols(), x.cols()}, dy.dtype());
      kernels::gemm_tn(dy.cols(), x.cols(), dy.rows(), dy.data<T>(), x.data<T>(), dw.data<T>(),
                       adds, T{1}, arithmetic);
    }
  });
  return {dx, dw};
}

std::vector<Sample> samples(Rng& rng) {
  return {{"both",
           {random_normal(rng, {6, 5}), random_normal(rng, {7, 5})},
           Arithmetic::kF32,
           {true, true}},
          {"weight only",
           {random_normal(rng, {2, 5}), random_normal(rng, {3, 5})},
           Arithmetic::kF32,
           {false, true}}};
}

}  // namespace

extern const OpDef dense_entry;
const OpDef dense_entry{"product with a trainable matrix", forward, backward, nullptr, samples};

Tensor dense(const Tensor& x, const Tensor& weight, Arithmetic arithmetic) {
  const Tensor inputs[] = {x, weight};
  return record(dense_entry, inputs, arithmetic);
}

}  // namespace moxie::ops
