// In what arithmetic a matrix is multiplied once it trains.
#include "nn/linear.h"

#include <gtest/gtest.h>

#include <cstring>

#include "ops/checks.h"
#include "ops/dense.h"

namespace moxie::nn {
namespace {

using kernels::Arithmetic;

bool same(const Tensor& a, const Tensor& b) {
  return a.bytes() == b.bytes() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

TEST(Matrix, TakesGradientsIn8BitsInsideANetworkAndIn16AtItsHead) {
  Rng rng(3);
  const auto normal = [&](Shape shape) { return ops::random_normal(rng, shape).to(DType::kF32); };
  Matrix matrix("m", quant::Weight::from_tensor(normal({48, 64})));
  matrix.set_compute(quant::Compute::kInt8);
  matrix.make_trainable();
  const Tensor x = normal({20, 64}), dy = normal({20, 48});
  const auto gradient = [&](const auto& product) {
    ops::Tape tape;
    const Tensor leaf = tape.leaf(x);
    tape.backward(product(leaf), dy);
    return tape.grad(leaf);
  };
  const auto in = [&](Arithmetic arithmetic) {
    return gradient(
        [&](const Tensor& leaf) { return ops::dense(leaf, matrix.param()->value, arithmetic); });
  };
  const Tensor inner = gradient([&](const Tensor& leaf) { return matrix.apply(leaf); });
  const Tensor outer = gradient([&](const Tensor& leaf) { return matrix.logits(leaf); });
  const bool rounds = kernels::int16_is_faster();
  EXPECT_TRUE(same(inner, in(rounds ? Arithmetic::kInt8 : Arithmetic::kF32)));
  EXPECT_TRUE(same(outer, in(rounds ? Arithmetic::kInt16 : Arithmetic::kF32)));
  EXPECT_EQ(rounds, !same(inner, outer));
  matrix.set_compute(quant::Compute::kInt16);
  EXPECT_TRUE(same(gradient([&](const Tensor& leaf) { return matrix.apply(leaf); }),
                   in(Arithmetic::kInt16)));
}

}  // namespace
}  // namespace moxie::nn
