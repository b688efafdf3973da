// y = x W^T;   dx = dy W
#include "ops/linear.h"

#include <utility>

#include "ops/checks.h"

namespace moxie::ops {
namespace {

Tensor forward(Call& call, std::span<const Tensor> in) {
  const auto& weight = attributes_of<quant::Weight>(call);
  check_float("linear", in[0]);
  if (in[0].cols() != weight.cols()) {
    fail(ErrorCode::kInvalidArgument, "linear", "the rows are {} wide, but the weight is [{}, {}]",
         in[0].cols(), weight.rows(), weight.cols());
  }
  Tensor y = Tensor::empty({in[0].rows(), weight.rows()}, in[0].dtype());
  dispatch_float(y.dtype(), "linear", [&](auto zero) {
    using T = decltype(zero);
    weight.matmul(in[0].data<T>(), in[0].rows(), y.data<T>());
  });
  return y;
}

std::vector<Tensor> backward(Call& call, const Tensor& dy) {
  const auto& weight = attributes_of<quant::Weight>(call);
  const bool adds = call.gathered[0].defined();
  Tensor dx = call.gradient_of(0, {dy.rows(), weight.cols()}, dy.dtype());
  dispatch_float(dy.dtype(), "linear", [&](auto zero) {
    using T = decltype(zero);
    weight.matmul_transposed(dy.data<T>(), dy.rows(), dx.data<T>(), adds);
  });
  return {dx};
}

std::vector<Sample> samples(Rng& rng) {
  const auto weight = quant::Weight::from_tensor(random_normal(rng, {5, 32}).to(DType::kF32));
  return {{"f32 weight", {random_normal(rng, {3, 32})}, weight, {true}},
          {"many rows", {random_normal(rng, {9, 32})}, weight, {true}}};
}

}  // namespace

extern const OpDef linear_entry;
const OpDef linear_entry{"product with a frozen matrix in any format", forward, backward, nullptr,
                         samples};

Tensor linear(const Tensor& x, const quant::Weight& weight) {
  return record(linear_entry, {&x, 1}, weight);
}

}  // namespace moxie::ops
