#include "kernels/softmax_rows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/threads.h"
#include "kernels/products.h"
#include "normals.h"

namespace moxie::kernels {
namespace {

struct Result {
  std::vector<double> losses;
  std::vector<float> gradient;  // times the head: [rows, width]
  std::vector<float> at_labels;
};

constexpr int64_t kWidth = 40, kVocab = 1000;

struct Case {
  int64_t rows;
  std::vector<float> hidden, head;
  std::vector<int64_t> labels;

  explicit Case(int64_t count)
      : rows(count), hidden(normals(count * kWidth, 1)), head(normals(kVocab * kWidth, 2, 0.8)) {
    for (int64_t i = 0; i < rows; ++i) labels.push_back(i * 37 % kVocab);
  }
  Result run(float factor, bool wants_gradient, Tiles kind = Tiles::kBF16) const {
    const Rows by_row{&head, kWidth};
    const RowDecoder decoder{&by_row, copy_row<1>, 1};
    PackedRows packed(rows, kWidth, 0, kind), gradient(rows, kVocab, 0, kind);
    packed.pack(hidden.data(), kWidth, 1);
    Result result;
    result.losses.resize(size_t(rows));
    if (!wants_gradient) {
      multiply_cross_entropy(packed, {decoder, nullptr}, kVocab, factor, labels.data(),
                             result.losses.data(), nullptr, nullptr);
      return result;
    }
    result.at_labels.resize(size_t(rows));
    multiply_cross_entropy(packed, {decoder, nullptr}, kVocab, factor, labels.data(),
                           result.losses.data(), &gradient, result.at_labels.data());
    result.gradient.resize(size_t(rows * kWidth));
    multiply_nn(gradient, kWidth, decoder, nullptr, result.gradient.data(), false);
    for (int64_t at = 0; at < rows * kWidth; ++at) {
      const int64_t i = at / kWidth;
      const float own = head[size_t(labels[size_t(i)] * kWidth + at % kWidth)];
      result.gradient[size_t(at)] += result.at_labels[size_t(i)] * own;
    }
    return result;
  }
  // The logits of a row times factor, of numbers rounded to bf16.
  std::vector<double> logits(int64_t i, float factor) const {
    const auto rounded = [](float x) { return double(to_float(to_bfloat16(x))); };
    std::vector<double> found(kVocab);
    for (int64_t at = 0; at < kVocab * kWidth; ++at) {
      found[size_t(at / kWidth)] +=
          factor * rounded(hidden[size_t(i * kWidth + at % kWidth)]) * rounded(head[size_t(at)]);
    }
    return found;
  }
};

// What a row's gradient is off by, as a share of it; logits: of the row, times factor.
double error_of(const Case& c, const Result& got, int64_t i, const std::vector<double>& logits,
                float factor) {
  const auto label = size_t(c.labels[size_t(i)]);
  double others = 0;
  for (size_t v = 0; v < logits.size(); ++v) {
    if (v != label) others += std::exp(logits[v]);
  }
  const double sum = others + std::exp(logits[label]);
  double size = 0, difference = 0;
  for (int64_t k = 0; k < kWidth; ++k) {
    double want = 0;
    for (size_t v = 0; v < logits.size(); ++v) {
      const double p = v == label ? -others / sum : std::exp(logits[v]) / sum;
      want += factor * p * double(c.head[v * kWidth + size_t(k)]);
    }
    difference += std::pow(got.gradient[size_t(i * kWidth + k)] - want, 2);
    size += want * want;
  }
  return std::sqrt(difference / size);
}

double loss_of(const std::vector<double>& logits, int64_t label) {
  double sum = 0;
  for (const double logit : logits) sum += std::exp(logit - logits[size_t(label)]);
  return std::log(sum);
}

TEST(SoftmaxRows, AreTheCrossEntropyAndItsGradient) {
  for (const int64_t rows : {70, 300}) {
    const Case c(rows);
    const float factor = 1.5f;
    const Result got = c.run(factor, true);
    EXPECT_EQ(c.run(factor, false).losses, got.losses);
    for (int64_t i = 0; i < rows; ++i) {
      const auto logits = c.logits(i, factor);
      ASSERT_NEAR(got.losses[size_t(i)], loss_of(logits, c.labels[size_t(i)]), 1e-4) << i;
      ASSERT_LT(error_of(c, got, i, logits, factor), 5e-3) << "row " << i;
    }
  }
}

TEST(SoftmaxRows, OfIntegersAreNear) {
  const Case c(300);
  const float factor = 1.5f;
  const Result got = c.run(factor, true, Tiles::kInt8);
  for (int64_t i = 0; i < c.rows; ++i) {
    const auto logits = c.logits(i, factor);  // around 8
    ASSERT_NEAR(got.losses[size_t(i)], loss_of(logits, c.labels[size_t(i)]), 0.25) << "row " << i;
    ASSERT_LT(error_of(c, got, i, logits, factor), 0.12) << "row " << i;
  }
}

// Where the label is all but certain a gradient keeps its size and direction, however small it is.
TEST(SoftmaxRows, CertainLabelsKeepTheirGradients) {
  Case c(100);
  for (int64_t at = 0; at < c.rows * kWidth; ++at) {
    const int64_t label = c.labels[size_t(at / kWidth)];
    c.hidden[size_t(at)] = 1.5f * c.head[size_t(label * kWidth + at % kWidth)];
  }
  for (const Tiles kind : {Tiles::kBF16, Tiles::kInt8}) {
    const Result got = c.run(1, true, kind);
    int64_t certain = 0;
    for (int64_t i = 0; i < c.rows; ++i) {
      const double rest = -std::expm1(-got.losses[size_t(i)]);  // what the others have
      certain += rest < 0.1 ? 1 : 0;
      ASSERT_NEAR(got.at_labels[size_t(i)], -rest, 1e-5 * rest) << "row " << i;
      const double error = error_of(c, got, i, c.logits(i, 1), 1);
      ASSERT_LT(error, kind == Tiles::kBF16 ? 0.02 : 0.25) << "row " << i;
    }
    EXPECT_GE(certain, 90);
  }
}

TEST(SoftmaxRows, BitsDoNotDependOnThreads) {
  const int before = thread_count();
  const Case c(300);
  set_thread_count(1);
  const Result one = c.run(1, true);
  for (const int threads : {2, 3}) {
    set_thread_count(threads);
    const Result more = c.run(1, true);
    EXPECT_EQ(more.losses, one.losses);
    EXPECT_EQ(more.gradient, one.gradient);
  }
  set_thread_count(before);
}

}  // namespace
}  // namespace moxie::kernels
