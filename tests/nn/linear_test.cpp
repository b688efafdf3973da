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
  const auto apply = [&](const Tensor& leaf) {
    kernels::SharedRows packed;
    return matrix.apply(leaf, packed);
  };
  const Tensor inner = gradient(apply);
  const Tensor outer = gradient([&](const Tensor& leaf) { return matrix.logits(leaf); });
  const bool rounds = kernels::int16_is_faster();
  EXPECT_TRUE(same(inner, in(rounds ? Arithmetic::kInt8 : Arithmetic::kF32)));
  EXPECT_TRUE(same(outer, in(rounds ? Arithmetic::kInt16 : Arithmetic::kF32)));
  EXPECT_EQ(rounds, !same(inner, outer));
  matrix.set_compute(quant::Compute::kInt16);
  EXPECT_TRUE(same(gradient(apply), in(Arithmetic::kInt16)));
}

// In tiles x is packed once for all matrices that it meets, and kept so: to the bit what products
// that pack for themselves give.
class TrainableTiles : public testing::TestWithParam<quant::Compute> {};
INSTANTIATE_TEST_SUITE_P(Matrix, TrainableTiles,
                         testing::Values(quant::Compute::kBF16, quant::Compute::kTiles8,
                                         quant::Compute::kGradients8));

TEST_P(TrainableTiles, AreShared) {
  const Arithmetic arithmetic = quant::trainable_arithmetic_of(GetParam());
  Rng rng(4);
  const auto normal = [&](Shape shape) { return ops::random_normal(rng, shape).to(DType::kF32); };
  for (const int64_t n : {kernels::kFewRows, int64_t{20}, int64_t{300}}) {
    Matrix matrices[] = {Matrix("a", quant::Weight::from_tensor(normal({48, 70}))),
                         Matrix("b", quant::Weight::from_tensor(normal({96, 70})))};
    const Tensor x = normal({n, 70});
    kernels::SharedRows packed;
    for (Matrix& matrix : matrices) {
      matrix.set_compute(GetParam());
      matrix.make_trainable();
      const Tensor dy = normal({n, matrix.rows()});
      const auto results = [&](bool shares) {
        ops::Tape tape;
        const Tensor leaf = tape.leaf(x);
        const Tensor w = tape.leaf(matrix.param()->value);
        matrix.param()->gradient = Tensor();
        const Tensor y = shares ? matrix.apply(leaf, packed) : ops::dense(leaf, w, arithmetic);
        tape.backward(y, dy);
        return std::vector<Tensor>{y, tape.grad(leaf),
                                   shares ? matrix.param()->gradient : tape.grad(w)};
      };
      const auto got = results(true), want = results(false);
      for (size_t i = 0; i < want.size(); ++i) EXPECT_TRUE(same(got[i], want[i])) << n << ' ' << i;
    }
    const bool is_bf16 = matrices[0].arithmetic() == Arithmetic::kBF16;  // as the CPU can
    const bool packs = is_bf16 && n > kernels::kFewRows;
    const bool is_int8 = arithmetic == Arithmetic::kTiles8;
    EXPECT_EQ(packed.bf16 != nullptr, packs && !is_int8);
    EXPECT_EQ(packed.int8 != nullptr, packs && is_int8);
    EXPECT_EQ(packed.plain.defined(), packs && is_int8);
  }
}

}  // namespace
}  // namespace moxie::nn
