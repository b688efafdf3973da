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
    multiply_cross_entropy(packed, {decoder, nullptr}, kVocab, factor, labels.data(),
                           result.losses.data(), wants_gradient ? &gradient : nullptr);
    if (!wants_gradient) return result;
    result.gradient.resize(size_t(rows * kWidth));
    multiply_nn(gradient, kWidth, decoder, nullptr, result.gradient.data(), false);
    return result;
  }
};

double rounded(float x) {
  return to_float(to_bfloat16(x));
}

TEST(SoftmaxRows, AreTheCrossEntropyAndItsGradient) {
  for (const int64_t rows : {70, 300}) {
    const Case c(rows);
    const float factor = 1.5f;
    const Result got = c.run(factor, true);
    EXPECT_EQ(c.run(factor, false).losses, got.losses);
    for (int64_t i = 0; i < rows; ++i) {
      std::vector<double> logits(kVocab), back(kWidth);
      double sum = 0;
      for (int64_t v = 0; v < kVocab; ++v) {
        for (int64_t k = 0; k < kWidth; ++k) {
          logits[size_t(v)] += factor * rounded(c.hidden[size_t(i * kWidth + k)]) *
                               rounded(c.head[size_t(v * kWidth + k)]);
        }
        sum += std::exp(logits[size_t(v)]);
      }
      const auto label = size_t(c.labels[size_t(i)]);
      ASSERT_NEAR(got.losses[size_t(i)], std::log(sum) - logits[label], 1e-4) << "row " << i;
      double size = 0, difference = 0;
      for (int64_t k = 0; k < kWidth; ++k) {
        double want = 0;
        for (size_t v = 0; v < size_t(kVocab); ++v) {
          const double p = std::exp(logits[v]) / sum - (v == label ? 1 : 0);
          want += factor * p * rounded(c.head[v * kWidth + size_t(k)]);
        }
        const double error = got.gradient[size_t(i * kWidth + k)] - want;
        size += want * want;
        difference += error * error;
      }
      ASSERT_LT(std::sqrt(difference / size), 5e-3) << "row " << i;
    }
  }
}

// Of 8-bit integers the gradient comes without the labels' own.
TEST(SoftmaxRows, OfIntegersAreNearThoseOfBF16) {
  const Case c(300);
  const Result bf16 = c.run(1.5f, true), got = c.run(1.5f, true, Tiles::kInt8);
  for (int64_t i = 0; i < c.rows; ++i) {
    ASSERT_NEAR(got.losses[size_t(i)], bf16.losses[size_t(i)], 0.25) << "row " << i;
    double size = 0, difference = 0;
    for (int64_t k = 0; k < kWidth; ++k) {
      const auto at = size_t(i * kWidth + k);
      const float own = 1.5f * c.head[size_t(c.labels[size_t(i)] * kWidth + k)];
      difference += std::pow(got.gradient[at] - own - bf16.gradient[at], 2);
      size += std::pow(bf16.gradient[at], 2);
    }
    ASSERT_LT(std::sqrt(difference / size), 0.12) << "row " << i;  // of logits around 8
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
