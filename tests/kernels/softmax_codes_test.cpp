#include "kernels/softmax_codes.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/threads.h"
#include "normals.h"

namespace moxie::kernels {
namespace {

struct Result {
  std::vector<double> losses;
  std::vector<float> gradient, at_labels, step;  // step: of a number's code, in its row and block
};

// A number as the codes have it.
float value_of(const RoundedRows& rows, const RoundedRows::Place& at) {
  const bool is_int8 = rows.arithmetic() == Arithmetic::kInt8;
  const int code = is_int8 ? rows.codes<uint8_t>()[at.code] : rows.codes<int16_t>()[at.code];
  return rows.scales()[at.scale] * static_cast<float>(code);
}

struct Case {
  int64_t rows, vocab;
  float factor;
  std::vector<float> logits;
  std::vector<int64_t> labels;

  Case(int64_t row_count, int64_t vocabulary, float scale)
      : rows(row_count),
        vocab(vocabulary),
        factor(scale),
        logits(normals(row_count * vocabulary, 1, 4)) {
    for (int64_t i = 0; i < rows; ++i) labels.push_back(i * 37 % vocab);
  }
  float& at(int64_t i, int64_t j) { return logits[size_t(i * vocab + j)]; }
  Result run(Arithmetic arithmetic, bool wants_gradient = true) const {
    const auto part = [this](int64_t i0, int64_t i1, int64_t j0, int64_t j1, float* out) {
      for (int64_t i = i0; i < i1; ++i) {
        const float* row = logits.data() + i * vocab;
        out = std::copy(row + j0, row + j1, out);
      }
    };
    Result result{std::vector<double>(size_t(rows)), std::vector<float>(logits.size()),
                  std::vector<float>(size_t(rows)), std::vector<float>(logits.size())};
    if (!wants_gradient) {
      round_cross_entropy(rows, vocab, part, factor, labels.data(), result.losses.data(), nullptr,
                          nullptr);
      return result;
    }
    RoundedRows rounded(rows, vocab, arithmetic);
    round_cross_entropy(rows, vocab, part, factor, labels.data(), result.losses.data(), &rounded,
                        result.at_labels.data());
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < vocab; ++j) {
        const RoundedRows::Place at = rounded.place_of(i, j);
        result.gradient[size_t(i * vocab + j)] = value_of(rounded, at);
        result.step[size_t(i * vocab + j)] = rounded.scales()[at.scale];
      }
    }
    return result;
  }
};

class SoftmaxCodes : public testing::TestWithParam<Arithmetic> {};
INSTANTIATE_TEST_SUITE_P(Integers, SoftmaxCodes,
                         testing::Values(Arithmetic::kInt16, Arithmetic::kInt8));

// 4500: more than one part of 8-bit codes, and some of a block.
const Case kCases[] = {{1, 1, 1},        {3, 2, 1},     {5, 385, 0.5f},
                       {70, 1001, 1.5f}, {300, 777, 1}, {9, 4500, 1}};

TEST_P(SoftmaxCodes, AreTheCrossEntropyAndItsGradient) {
  for (const Case& c : kCases) {
    const Result got = c.run(GetParam());
    if (GetParam() == Arithmetic::kInt16) {
      EXPECT_EQ(c.run(GetParam(), false).losses, got.losses);
    }
    for (int64_t i = 0; i < c.rows; ++i) {
      const auto label = c.labels[size_t(i)];
      double sum = 0, others = 0;
      const auto logit = [&](int64_t j) {
        return double(c.factor * c.logits[size_t(i * c.vocab + j)]);
      };
      for (int64_t j = 0; j < c.vocab; ++j) {
        sum += std::exp(logit(j));
        if (j != label) others += std::exp(logit(j));
      }
      ASSERT_NEAR(got.losses[size_t(i)], std::log(sum) - logit(label), 1e-5) << "row " << i;
      const double at_label = -c.factor * others / sum;
      ASSERT_NEAR(got.at_labels[size_t(i)], at_label, 1e-5 * std::fabs(at_label));
      for (int64_t j = 0; j < c.vocab; ++j) {
        const auto at = size_t(i * c.vocab + j);
        const double want = j == label ? 0 : c.factor * std::exp(logit(j)) / sum;
        ASSERT_NEAR(got.gradient[at], want, got.step[at] / 2 * 1.001 + 1e-5 * want)
            << "row " << i << ", column " << j;
      }
    }
  }
}

// What is left of a label that is all but certain, and of the others beside it.
TEST_P(SoftmaxCodes, CertainLabelsKeepTheirDigits) {
  const bool is_int8 = GetParam() == Arithmetic::kInt8;  // where small numbers become 0
  Case c(64, 500, 1);
  for (int64_t i = 0; i < c.rows; ++i) c.at(i, c.labels[size_t(i)]) = 40;
  const Result got = c.run(GetParam());
  for (int64_t i = 0; i < c.rows; ++i) {
    double others = 0, left = 0;
    for (int64_t j = 0; j < c.vocab; ++j) {
      if (j != c.labels[size_t(i)]) others += std::exp(double(c.at(i, j)) - 40);
      left += got.gradient[size_t(i * c.vocab + j)];
    }
    EXPECT_NEAR(got.at_labels[size_t(i)], -others, 1e-5 * others);
    EXPECT_NEAR(left, others, (is_int8 ? 0.03 : 1e-2) * others);
  }
}

TEST_P(SoftmaxCodes, NumbersOutOfRangeSpoilTheirOwnRowOnly) {
  Case c(40, 900, 1);
  const Result whole = c.run(GetParam());
  c.at(3, 800) = std::numeric_limits<float>::quiet_NaN();
  c.at(5, 2) = std::numeric_limits<float>::infinity();
  c.at(7, c.labels[7]) = std::numeric_limits<float>::quiet_NaN();
  const Result got = c.run(GetParam());
  for (int64_t i = 0; i < c.rows; ++i) {
    const auto row = size_t(i);
    const bool is_spoilt = i == 3 || i == 5 || i == 7;
    EXPECT_EQ(std::isnan(got.losses[row]), is_spoilt);
    for (size_t j = 0; j < 900; ++j) {
      if (is_spoilt) {
        ASSERT_TRUE(std::isnan(got.gradient[row * 900 + j]));
      } else {
        ASSERT_EQ(got.gradient[row * 900 + j], whole.gradient[row * 900 + j]);
      }
    }
  }
}

TEST_P(SoftmaxCodes, BitsDoNotDependOnThreads) {
  const int before = thread_count();
  const Case c(300, 1000, 1);
  set_thread_count(1);
  const Result one = c.run(GetParam());
  for (const int threads : {2, 3}) {
    set_thread_count(threads);
    const Result more = c.run(GetParam());
    EXPECT_EQ(more.losses, one.losses);
    EXPECT_EQ(more.gradient, one.gradient);
    EXPECT_EQ(more.at_labels, one.at_labels);
  }
  set_thread_count(before);
}

}  // namespace
}  // namespace moxie::kernels
