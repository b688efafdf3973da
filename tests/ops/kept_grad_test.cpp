// What ops keep in bf16: a backward over it is that over the rounded numbers.
#include "ops/kept.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/cpu.h"
#include "ops/attention.h"
#include "ops/checks.h"
#include "ops/rms_norm.h"

namespace moxie::ops {
namespace {

Tensor rounded_normal(uint64_t seed, const Shape& shape) {
  Rng rng(seed);
  return restored(kept(random_normal(rng, shape).to(DType::kF32), true));
}

bool are_equal(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::memcmp(a.data<float>(), b.data<float>(), a.bytes()) == 0;
}

Tensor gradient_of_norm(const Tensor& x, const Tensor& w, bool keeps_bf16) {
  Tape tape;
  const Tensor leaf = tape.leaf(x);
  tape.backward(rms_norm(leaf, w, 1e-5, 0, keeps_bf16), rounded_normal(3, x.shape()));
  return tape.grad(leaf);
}

TEST(Kept, NormsTakeRoundedNumbersBack) {
  const Tensor w = rounded_normal(1, {40});
  const Tensor x = rounded_normal(2, {9, 40});
  EXPECT_TRUE(are_equal(gradient_of_norm(x, w, true), gradient_of_norm(x, w, false)));
  Rng rng(4);
  const Tensor finer = random_normal(rng, {9, 40}).to(DType::kF32);
  EXPECT_FALSE(are_equal(gradient_of_norm(finer, w, true), gradient_of_norm(finer, w, false)));
  EXPECT_TRUE(are_equal(gradient_of_norm(finer, w, true),
                        gradient_of_norm(restored(kept(finer, true)), w, false)));
}

// In bf16 attention multiplies rounded numbers as it is: keys, values and queries that are kept
// rounded change nothing, and its result by no more than half a step.
TEST(Kept, AttentionsGradientsStayWhatTheyWere) {
  if (!has_bf16_tiles()) GTEST_SKIP() << "this CPU has no tiles of bf16";
  const Tensor q = rounded_normal(5, {20, 64}), k = rounded_normal(6, {20, 32});
  const Tensor v = rounded_normal(7, {20, 32}), dy = rounded_normal(8, {20, 64});
  Tensor gradients[2];
  int place = 0;
  for (const auto arithmetic : {kernels::Arithmetic::kBF16, kernels::Arithmetic::kF32}) {
    Tape tape;
    const Tensor leaf = tape.leaf(q);
    const bool keeps = arithmetic == kernels::Arithmetic::kBF16;
    tape.backward(
        attention(leaf, k, v, {}, {4, 2, 16, 0.25, 0, 0, true, {0, 5, 20}, arithmetic, keeps}), dy);
    gradients[place++] = tape.grad(leaf);
  }
  for (int64_t i = 0; i < q.count(); ++i)
    ASSERT_NEAR(gradients[0].data<float>()[i], gradients[1].data<float>()[i], 0.02) << i;
}

// Elsewhere rounded numbers are what both ways see, and others find the result in bf16.
TEST(Kept, AttentionSeesWhatItKeeps) {
  Rng rng(9);
  const Tensor q = random_normal(rng, {20, 64}).to(DType::kF32);
  const Tensor k = random_normal(rng, {20, 32}).to(DType::kF32);
  const Tensor v = random_normal(rng, {20, 32}).to(DType::kF32);
  AttentionOptions options{4, 2, 16, 0.25, 0, 0, true, {0, 5, 20}};
  std::vector<kernels::Arithmetic> list{kernels::Arithmetic::kF32, kernels::Arithmetic::kInt16};
  if (bf16_runs_on_fma()) list.push_back(kernels::Arithmetic::kBF16);
  for (const auto arithmetic : list) {
    options.arithmetic = arithmetic;
    options.keeps_bf16 = true;
    options.kept_out = std::make_shared<Tensor>();
    Tape tape;
    const Tensor out = attention(tape.leaf(q), k, v, {}, options);
    EXPECT_TRUE(are_equal(restored(*options.kept_out), restored(kept(out, true))));
    options.keeps_bf16 = false;
    options.kept_out = nullptr;
    const auto plain = [&](bool rounds) {
      return attention(restored(kept(q, rounds)), restored(kept(k, rounds)),
                       restored(kept(v, rounds)), {}, options);
    };
    EXPECT_TRUE(are_equal(out, plain(true)));
    EXPECT_FALSE(are_equal(out, plain(false)));
  }
}

}  // namespace
}  // namespace moxie::ops
