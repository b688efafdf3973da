// Every op of the table: its gradient against central differences in double, f32 against f64, and
// one thread against several, bit for bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <functional>

#include "base/cpu.h"
#include "base/threads.h"
#include "ops/adapted_linear.h"
#include "ops/add.h"
#include "ops/checks.h"
#include "ops/cross_entropy.h"
#include "ops/dense.h"
#include "ops/gated_mlp.h"
#include "ops/linear.h"
#include "ops/lora.h"
#include "ops/mul.h"
#include "ops/swiglu.h"
#include "ops/tape.h"

namespace moxie::ops {
namespace {

double weighted_sum(const Tensor& y, const Tensor& weights) {
  double total = 0;
  for (int64_t i = 0; i < y.count(); ++i) total += y.data<double>()[i] * weights.data<double>()[i];
  return total;
}

Tensor direction_for(const Tensor& y, Rng& rng) {
  Tensor weights = Tensor::empty(y.shape(), DType::kF64);
  for (double& w : weights.span<double>()) w = rng.normal();
  return weights;
}

Tensor run(const OpDef& op, const std::vector<Tensor>& inputs, const std::any& attributes) {
  const NoTape quiet;
  return record(op, inputs, attributes);
}

void check_gradient(const Named<OpDef>& row, const Sample& sample, Rng& rng) {
  std::vector<Tensor> leaves;
  Tape tape;
  for (size_t i = 0; i < sample.inputs.size(); ++i) {
    leaves.push_back(sample.differentiable[i] ? tape.leaf(sample.inputs[i]) : sample.inputs[i]);
  }
  const Tensor y = record(*row.entry, leaves, sample.attributes);
  const Tensor weights = direction_for(y, rng);
  tape.backward(y, weights);
  for (size_t i = 0; i < leaves.size(); ++i) {
    if (!sample.differentiable[i]) continue;
    const Tensor analytic = tape.grad(leaves[i]);
    ASSERT_TRUE(analytic.defined()) << row.name << " input " << i;
    for (int64_t e = 0; e < analytic.count(); ++e) {
      const double step = 1e-5;
      std::vector<Tensor> moved = sample.inputs;
      moved[i] = sample.inputs[i].clone();
      moved[i].data<double>()[e] += step;
      const double up = weighted_sum(run(*row.entry, moved, sample.attributes), weights);
      moved[i].data<double>()[e] -= 2 * step;
      const double down = weighted_sum(run(*row.entry, moved, sample.attributes), weights);
      const double numeric = (up - down) / (2 * step);
      EXPECT_NEAR(analytic.data<double>()[e], numeric, 1e-6 * (1 + std::abs(numeric)))
          << row.name << " '" << sample.label << "' input " << i << " element " << e;
    }
  }
}

TEST(Ops, TableHasEveryRowAndEachHasSamples) {
  EXPECT_EQ(op_table().size(), 26u);
  for (const auto& row : op_table()) {
    Rng rng(1);
    EXPECT_FALSE(row->samples(rng).empty()) << row.name;
    EXPECT_NE(row->backward == nullptr, row->no_gradient == nullptr)
        << row.name << " must state a backward or why there is none";
  }
}

TEST(Ops, GradientsEqualFiniteDifferences) {
  int checked = 0;
  for (const auto& row : op_table()) {
    Rng rng(7);
    for (const Sample& sample : row->samples(rng)) {
      if (row->backward == nullptr) continue;
      check_gradient(row, sample, rng);
      ++checked;
    }
  }
  EXPECT_GE(checked, 30);
}

TEST(Ops, F32FollowsF64) {
  for (const auto& row : op_table()) {
    Rng rng(9);
    for (const Sample& sample : row->samples(rng)) {
      if (row->backward == nullptr) continue;
      std::vector<Tensor> narrow;
      for (const Tensor& input : sample.inputs) narrow.push_back(input.to(DType::kF32));
      const Tensor wide = run(*row.entry, sample.inputs, sample.attributes);
      const Tensor thin = run(*row.entry, narrow, sample.attributes);
      ASSERT_EQ(thin.shape(), wide.shape()) << row.name;
      double largest = 0;
      for (const double value : wide.span<double>()) largest = std::max(largest, std::abs(value));
      for (int64_t i = 0; i < wide.count(); ++i) {
        EXPECT_NEAR(thin.data<float>()[i], wide.data<double>()[i], 2e-6 * (1 + largest))
            << row.name;
      }
    }
  }
}

TEST(Ops, ThreadsDoNotChangeABit) {
  const int before = thread_count();
  for (const auto& row : op_table()) {
    Rng rng(11);
    for (const Sample& sample : row->samples(rng)) {
      std::vector<Tensor> narrow;
      for (const Tensor& input : sample.inputs) narrow.push_back(input.to(DType::kF32));
      std::vector<std::vector<Tensor>> results;
      for (const int threads : {1, 2, 4}) {
        set_thread_count(threads);
        Tape tape;
        std::vector<Tensor> leaves;
        for (size_t i = 0; i < narrow.size(); ++i) {
          leaves.push_back(sample.differentiable[i] ? tape.leaf(narrow[i]) : narrow[i]);
        }
        std::vector<Tensor> out = {record(*row.entry, leaves, sample.attributes)};
        if (row->backward != nullptr) {
          tape.backward(out[0]);
          for (const Tensor& leaf : leaves) out.push_back(tape.grad(leaf));
        }
        results.push_back(std::move(out));
      }
      for (size_t t = 1; t < results.size(); ++t) {
        for (size_t k = 0; k < results[0].size(); ++k) {
          if (!results[0][k].defined()) continue;
          EXPECT_EQ(0, std::memcmp(results[0][k].raw(), results[t][k].raw(), results[0][k].bytes()))
              << row.name;
        }
      }
    }
  }
  set_thread_count(before);
}

TEST(Tape, RecomputeGivesTheSameGradients) {
  Rng rng(3);
  Tensor x = Tensor::empty({4, 6}, DType::kF64);
  for (double& v : x.span<double>()) v = rng.normal();
  const auto* silu = find_row(op_table(), "silu");
  const auto* mul = find_row(op_table(), "mul");
  const auto segment = [&](const std::vector<Tensor>& in) {
    const Tensor a = record(*silu->entry, {in.data(), 1});
    const Tensor both[] = {a, in[0]};
    return record(*mul->entry, both);
  };
  Tensor kept;
  Tensor redone;
  {
    Tape tape;
    const Tensor leaf = tape.leaf(x);
    tape.backward(segment({leaf}));
    kept = tape.grad(leaf);
  }
  {
    Tape tape;
    const Tensor leaf = tape.leaf(x);
    tape.backward(tape.recompute({leaf}, segment));
    redone = tape.grad(leaf);
  }
  EXPECT_EQ(0, std::memcmp(kept.raw(), redone.raw(), kept.bytes()));
}

// |got - want| / |want| of each tensor.
void expect_near_in_norm(const std::vector<Tensor>& got, const std::vector<Tensor>& want,
                         double tolerance) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_EQ(got[i].shape(), want[i].shape());
    double difference = 0, size = 0;
    for (int64_t e = 0; e < want[i].count(); ++e) {
      const double w = want[i].data<float>()[e];
      difference += (got[i].data<float>()[e] - w) * (got[i].data<float>()[e] - w);
      size += w * w;
    }
    EXPECT_LT(std::sqrt(difference / size), tolerance) << "output " << i;
  }
}

// Packed, the weight's product and the LoRA's are those of the two ops in bf16, and so are
// gradients.
TEST(Ops, AdaptedLinearPackedIsLinearAndLora) {
  if (!has_bf16_tiles()) GTEST_SKIP() << "this CPU has no bf16 products";
  Rng rng(3);
  const auto normal = [&](Shape shape) { return random_normal(rng, shape).to(DType::kF32); };
  auto weight = quant::Weight::from_tensor(normal({70, 64}));
  const Tensor x = normal({300, 64}), a = normal({8, 64}), b = normal({70, 8});
  const Tensor direction = normal({300, 70});
  const auto run = [&](bool is_packed, quant::Compute compute) {
    weight.set_compute(compute);
    Tape tape;
    const Tensor inputs[] = {tape.leaf(x), tape.leaf(a), tape.leaf(b)};
    std::shared_ptr<kernels::PackedRows> packed;
    Tensor z;
    if (is_packed) {
      packed = std::make_shared<kernels::PackedRows>(x.rows(), x.cols(), a.rows(),
                                                     weight.tiles(x.rows()));
      packed->pack(x.data<float>(), x.cols(), 1);
      z = adapted_linear(inputs[0], {weight, inputs[1], inputs[2], 0.5}, packed);
    } else {
      z = lora(inputs[0], linear(inputs[0], weight), inputs[1], inputs[2], 0.5,
               kernels::Arithmetic::kBF16);
    }
    // x is read twice, so that its gradient is one that others have gathered.
    const Tensor all = add(z, linear(inputs[0], weight));
    tape.backward(all, direction);
    return std::vector<Tensor>{z, tape.grad(inputs[0]), tape.grad(inputs[1]), tape.grad(inputs[2])};
  };
  const auto steps = run(false, quant::Compute::kBF16);
  expect_near_in_norm(run(true, quant::Compute::kBF16), steps, 1e-3);
  expect_near_in_norm(run(true, quant::Compute::kTiles8), steps, 2e-2);
  expect_near_in_norm(run(true, quant::Compute::kGradients8), steps, 1e-2);
}

quant::Weight in_q4_1(const Tensor& values) {
  const auto& format = require_row(quant::formats(), "format", "q4_1");
  auto bytes = std::make_shared<std::vector<std::byte>>(
      static_cast<size_t>(values.rows() * quant::row_bytes(*format.entry, values.cols())));
  format->encode(values.data<float>(), bytes->data(), values.count());
  return {format, values.rows(), values.cols(), bytes->data(), bytes};
}

// In 8-bit integers too, each product off by what its factors are rounded by.
TEST(Ops, AdaptedLinearInIntegersIsLinearAndLora) {
  Rng rng(6);
  const auto normal = [&](Shape shape) { return random_normal(rng, shape).to(DType::kF32); };
  auto weight = in_q4_1(normal({70, 64}));
  weight.set_compute(quant::Compute::kInt8);
  if (!takes_lora_in_int8(weight, 100)) GTEST_SKIP() << "this CPU takes other products";
  const Tensor x = normal({100, 64}), direction = normal({100, 70});
  for (const int64_t rank : {8, 130}) {  // 130: more than those products take
    const Tensor a = normal({rank, 64}), b = normal({70, rank});
    const auto run = [&](bool is_one, quant::Compute compute) {
      weight.set_compute(compute);
      Tape tape;
      const Tensor inputs[] = {tape.leaf(x), tape.leaf(a), tape.leaf(b)};
      const Tensor z = is_one
                           ? adapted_linear(inputs[0], {weight, inputs[1], inputs[2], 0.5})
                           : lora(inputs[0], linear(inputs[0], weight), inputs[1], inputs[2], 0.5);
      // x is read twice, so that its gradient is one that others have gathered.
      tape.backward(add(z, linear(inputs[0], weight)), direction);
      return std::vector<Tensor>{z, tape.grad(inputs[0]), tape.grad(inputs[1]),
                                 tape.grad(inputs[2])};
    };
    const auto exact = run(false, quant::Compute::kF32);
    const auto rounded = run(true, quant::Compute::kInt8);
    expect_near_in_norm(rounded, exact, 0.03);
    EXPECT_NE(0, std::memcmp(rounded[1].raw(), exact[1].raw(), exact[1].bytes()));
  }
}

// A gated MLP with LoRAs of these ranks, 0: none, and what is put in at both of its ends.
struct MlpCase {
  MlpParts parts;
  Tensor x, direction;
};
using WeightOf = std::function<quant::Weight(const Tensor&)>;
MlpCase mlp_case(Rng& rng, int64_t n, int64_t width, const std::array<int64_t, 3>& ranks,
                 const WeightOf& weight) {
  const auto normal = [&](Shape shape, double scale) {
    return random_normal(rng, shape, scale).to(DType::kF32);
  };
  const auto part = [&](int64_t out, int64_t in, int64_t r) {
    AdaptedMatrix made{weight(normal({out, in}, 0.15)), {}, {}};
    if (r == 0) return made;
    made.a = normal({r, in}, 0.15);
    made.b = normal({out, r}, 0.15);
    made.scaling = 0.5;
    return made;
  };
  const MlpParts parts{part(width, 64, ranks[0]), part(width, 64, ranks[1]),
                       part(64, width, ranks[2])};
  return {parts, normal({n, 64}, 1), normal({n, 64}, 1)};
}

// Its result and all gradients, as one op or step by step.
std::vector<Tensor> run_mlp(const MlpCase& c, bool is_one, quant::Compute compute,
                            kernels::Arithmetic arithmetic) {
  Tape tape;
  std::vector<Tensor> leaves{tape.leaf(c.x)};
  const auto taped = [&](AdaptedMatrix made) {
    made.weight.set_compute(compute);
    if (!made.is_adapted()) return made;
    made.a = tape.leaf(made.a);
    made.b = tape.leaf(made.b);
    leaves.insert(leaves.end(), {made.a, made.b});
    return made;
  };
  const MlpParts parts{taped(c.parts.gate), taped(c.parts.up), taped(c.parts.down)};
  const auto apply = [&](const AdaptedMatrix& made, const Tensor& in) {
    const Tensor y = linear(in, made.weight);
    if (!made.is_adapted()) return y;
    return lora(in, y, made.a, made.b, made.scaling, arithmetic);
  };
  const Tensor z = is_one
                       ? gated_mlp(leaves[0], parts, Activation::kSilu)
                       : apply(parts.down, swiglu(apply(parts.gate, leaves[0]),
                                                  apply(parts.up, leaves[0]), Activation::kSilu));
  // x is read twice, so that its gradient is one that others have gathered.
  tape.backward(add(z, leaves[0]), c.direction);
  std::vector<Tensor> results{z};
  for (const Tensor& leaf : leaves) results.push_back(tape.grad(leaf));
  return results;
}

constexpr std::array<int64_t, 3> kRanks[] = {{0, 0, 0}, {4, 0, 8}, {4, 8, 8}};

// Packed, gate, up and activation never exist in f32: what comes out is what the ops give one after
// the other, but that gate and up are rounded to bf16 before the backward reads them.
TEST(Ops, GatedMlpPackedIsItsSteps) {
  if (!has_bf16_tiles()) GTEST_SKIP() << "this CPU has no bf16 products";
  Rng rng(4);
  for (const int64_t n : {40, 300}) {  // shared by columns, and by rows
    for (const auto& ranks : kRanks) {
      const MlpCase c = mlp_case(rng, n, 90, ranks, quant::Weight::from_tensor);
      const auto run = [&](bool is_one, quant::Compute compute) {
        return run_mlp(c, is_one, compute, kernels::Arithmetic::kBF16);
      };
      const auto steps = run(false, quant::Compute::kBF16);
      expect_near_in_norm(run(true, quant::Compute::kBF16), steps, 6e-3);
      expect_near_in_norm(run(true, quant::Compute::kTiles8), steps, 3e-2);
      expect_near_in_norm(run(true, quant::Compute::kGradients8), steps, 2e-2);
    }
  }
}

// In 8-bit integers too, each product off by what its factors are rounded by.
TEST(Ops, GatedMlpInIntegersIsItsSteps) {
  Rng rng(7);
  for (const int64_t n : {40, 300}) {
    for (const auto& ranks : kRanks) {
      MlpCase c = mlp_case(rng, n, 96, ranks, in_q4_1);
      c.parts.down.weight.set_compute(quant::Compute::kInt8);
      if (!runs_int8(c.parts.down, n)) GTEST_SKIP() << "this CPU takes other products";
      const auto run = [&](bool is_one, quant::Compute compute) {
        return run_mlp(c, is_one, compute, kernels::Arithmetic::kF32);
      };
      const auto exact = run(false, quant::Compute::kF32);
      const auto rounded = run(true, quant::Compute::kInt8);
      expect_near_in_norm(rounded, exact, 0.04);
      EXPECT_NE(0, std::memcmp(rounded[1].raw(), exact[1].raw(), exact[1].bytes()));
    }
  }
}

// In tiles logits stay packed: some rows have no label, and the others are no whole bands.
TEST(Ops, CrossEntropyPackedIsThatOfF32) {
  if (!has_bf16_tiles()) GTEST_SKIP() << "this CPU has no bf16 products";
  Rng rng(5);
  const Tensor hidden = random_normal(rng, {150, 64}).to(DType::kF32);
  auto head = quant::Weight::from_tensor(random_normal(rng, {500, 64}, 0.3).to(DType::kF32));
  std::vector<int64_t> labels;
  for (int64_t i = 0; i < hidden.rows(); ++i) labels.push_back(i % 4 == 3 ? -1 : i * 41 % 500);
  const auto run = [&](quant::Compute compute) {
    head.set_compute(compute);
    Tape tape;
    const Tensor leaf = tape.leaf(hidden);
    const Tensor loss = cross_entropy(leaf, head, labels, {0.5, 0});
    tape.backward(loss);
    return std::vector<Tensor>{loss, tape.grad(leaf)};
  };
  const auto exact = run(quant::Compute::kF32);
  expect_near_in_norm(run(quant::Compute::kBF16), exact, 5e-3);
  expect_near_in_norm(run(quant::Compute::kTiles8), exact, 3e-2);
}

// A head that trains, in tiles of 8-bit integers; of the second half of the rows the labels are all
// but certain, and their gradients small.
TEST(Ops, CrossEntropyOfATrainedHeadInTilesIsThatOfF32) {
  Rng rng(5);
  const Tensor head = random_normal(rng, {500, 64}, 0.5).to(DType::kF32);
  Tensor hidden = random_normal(rng, {150, 64}).to(DType::kF32);
  std::vector<int64_t> labels;
  for (int64_t i = 0; i < hidden.rows(); ++i) {
    labels.push_back(i * 41 % 500);
    for (int64_t c = 0; i >= 75 && c < 64; ++c)
      hidden.data<float>()[i * 64 + c] = head.data<float>()[labels.back() * 64 + c];
  }
  for (const int64_t begin : {0, 75}) {
    const auto run = [&](kernels::Arithmetic arithmetic) {
      Tape tape;
      const Tensor rows = tape.leaf(hidden.slice_rows(begin, begin + 75));
      const Tensor w = tape.leaf(head);
      const auto first = labels.begin() + begin;
      const Tensor loss = cross_entropy(rows, w, {first, first + 75}, {}, arithmetic);
      tape.backward(loss);
      return std::vector<Tensor>{loss, tape.grad(rows), tape.grad(w)};
    };
    expect_near_in_norm(run(kernels::Arithmetic::kTiles8), run(kernels::Arithmetic::kF32), 1.4e-2);
  }
}

// The same of logits as codes of integers: by all rows at once, and row by row where a row must not
// depend on the others.
struct CrossEntropyCase {
  Tensor hidden;
  quant::Weight head;
  std::vector<int64_t> labels;

  CrossEntropyCase() {
    Rng rng(5);
    hidden = random_normal(rng, {150, 64}).to(DType::kF32);
    head = quant::Weight::from_tensor(random_normal(rng, {501, 64}, 0.3).to(DType::kF32));
    for (int64_t i = 0; i < hidden.rows(); ++i) labels.push_back(i % 4 == 3 ? -1 : i * 41 % 501);
  }
  std::vector<Tensor> run(quant::Compute compute, int64_t rows) {
    head.set_compute(compute);
    Tape tape;
    const Tensor leaf = tape.leaf(hidden.slice_rows(0, rows));
    const Tensor loss =
        cross_entropy(leaf, head, {labels.begin(), labels.begin() + rows}, {0.5, 0});
    tape.backward(loss);
    return {loss, tape.grad(leaf)};
  }
};

TEST(Ops, CrossEntropyInIntegersIsThatOfF32) {
  CrossEntropyCase c;
  const auto got = c.run(quant::Compute::kInt16, 150);
  expect_near_in_norm(got, c.run(quant::Compute::kF32, 150), 1e-3);
  const int before = thread_count();
  for (const int threads : {1, 2, 3}) {
    set_thread_count(threads);
    expect_near_in_norm(c.run(quant::Compute::kInt16, 150), got, 1e-30);
  }
  set_thread_count(before);
  // Without a gradient.
  EXPECT_EQ(*cross_entropy(c.hidden, c.head, c.labels, {0.5, 0}).data<float>(),
            *got[0].data<float>());
}

TEST(Ops, CrossEntropyOfARowDoesNotDependOnTheOthers) {
  CrossEntropyCase c;
  kernels::set_batch_invariant(true);
  const Tensor all = c.run(quant::Compute::kInt16, 150)[1];
  for (const int64_t rows : {1, 3, 20}) {
    const Tensor few = c.run(quant::Compute::kInt16, rows)[1];
    EXPECT_EQ(std::memcmp(all.raw(), few.raw(), few.bytes()), 0) << rows;
  }
  kernels::set_batch_invariant(false);
}

// What leaf_into() was given is added to where it stands, by each use, whatever it held.
TEST(Ops, GradientsAreAddedToWhatALeafWasGiven) {
  Rng rng(6);
  const Tensor x = random_normal(rng, {3, 4}), w = random_normal(rng, {5, 4});
  const auto gradient_of = [&](const Tensor& sink) {
    Tape tape;
    const Tensor leaf = sink.defined() ? tape.leaf_into(w, sink) : tape.leaf(w);
    tape.backward(
        add(dense(x, leaf, kernels::Arithmetic::kF32), dense(x, leaf, kernels::Arithmetic::kF32)));
    return tape.grad(leaf);
  };
  const Tensor alone = gradient_of({});
  const Tensor before = random_normal(rng, w.shape());
  const Tensor sink = before.clone();
  EXPECT_EQ(gradient_of(sink).raw(), sink.raw());
  for (int64_t i = 0; i < w.count(); ++i) {
    EXPECT_NEAR(sink.data<double>()[i], before.data<double>()[i] + alone.data<double>()[i], 1e-12);
  }
}

// Blank memory is written by the first use, whether the op writes there itself (dense) or what it
// made is copied (mul), and added to by the next, also where both are inputs of one op.
TEST(Ops, BlankGradientsAreWrittenFirst) {
  Rng rng(6);
  const Tensor w = random_normal(rng, {5, 5});
  const std::function<Tensor(const Tensor&, const Tensor&)> uses[] = {
      [](const Tensor& a, const Tensor& b) { return dense(a, b); },
      [](const Tensor& a, const Tensor& b) { return mul(a, b); },
      [&](const Tensor& a, const Tensor& b) { return add(dense(w, a), dense(w, b)); },
  };
  for (const auto& use : uses) {
    const auto gradient_of = [&](const Tensor& sink, bool* is_blank) {
      Tape tape;
      const Tensor first = tape.leaf_into(w, sink, is_blank);
      tape.backward(use(first, tape.leaf_into(w, sink, is_blank)));
      return sink;
    };
    const Tensor want = gradient_of(Tensor::zeros(w.shape(), w.dtype()), nullptr);
    bool is_blank = true;
    const Tensor got = gradient_of(random_normal(rng, w.shape()), &is_blank);
    EXPECT_FALSE(is_blank);
    for (int64_t i = 0; i < w.count(); ++i)
      EXPECT_NEAR(got.data<double>()[i], want.data<double>()[i], 1e-12);
  }
}

}  // namespace
}  // namespace moxie::ops
