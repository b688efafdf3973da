#include "quant/low_rank.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/threads.h"
#include "normals.h"
#include "quant/format.h"
#include "quant/weight.h"

namespace moxie::quant {
namespace {

constexpr int64_t kCols = 192;

Weight random_weight(const char* name, int64_t rows) {
  const auto& format = require_row(formats(), "format", name);
  auto bytes = std::make_shared<std::vector<std::byte>>(
      static_cast<size_t>(rows * row_bytes(*format.entry, kCols)));
  format->encode(normals(rows * kCols, 1).data(), bytes->data(), rows * kCols);
  Weight weight(format, rows, kCols, bytes->data(), bytes);
  weight.set_compute(Compute::kInt8);
  return weight;
}

// What is attached to a weight of `rows` rows.
struct Attached {
  Attached(int64_t rows_in, int64_t rank_in, double size_of_a = 1)
      : rows(rows_in),
        rank(rank_in),
        a(normals(rank * kCols, 7, size_of_a)),
        b(normals(rows * rank, 8)),
        copy(LowRankCopy::make(a.data(), b.data(), rank, kCols, rows, 0.5)) {}
  int64_t rows, rank;
  std::vector<float> a, b;
  std::shared_ptr<const LowRankCopy> copy;
};

struct Inner {
  Inner(const std::vector<float>& h, int64_t rank)
      : scales(h.size() / static_cast<size_t>(rank)),
        codes(scales.size() * static_cast<size_t>((rank + 1) / 2)),
        rows{std::ssize(scales), (rank + 1) / 2, codes.data(), scales.data()} {
    round_inner(h.data(), rank, rows, 0, rows.count);
  }
  std::vector<float> scales;
  std::vector<int32_t> codes;
  InnerRows rows;
};

TEST(LowRank, PathsAgreeBitForBit) {
  for (const int64_t rank : {1, 3, 16, 21, 64}) {
    const Attached attached(45, rank);  // not a whole strip at the end
    for (const int64_t n : {1, 5, 6, 14, 37}) {
      auto h = normals(n * rank, 3);
      h[0] *= 1e4f;
      const Inner inner(h, rank);
      auto y = normals(n * attached.rows, 4);
      auto z = y;
      attached.copy->add_to(inner.rows, y.data(), 0, 32);
      attached.copy->add_to(inner.rows, y.data(), 32, attached.rows);
      attached.copy->add_to_scalar(inner.rows, z.data(), 0, attached.rows);
      EXPECT_EQ(y, z) << rank << ' ' << n;
    }
  }
}

// An element of A is off by at most 1/220 of the largest of its group, one of B by 1/250 of the
// largest of its row, x by half a step of its group: the products by what these come to together.
TEST(LowRank, ProductsAreWithinThePromisedRounding) {
  for (const double size : {1.0, 1e-6, 1e6}) {  // the scales of A's groups must not lose digits
    const Attached attached(40, 16, size);
    const Weight weight = random_weight("q4_1", attached.rows);
    const int64_t n = 7;
    const auto x = normals(n * kCols, 5);
    std::vector<float> y(static_cast<size_t>(n * attached.rows)), base(y.size());
    weight.matmul(x.data(), n, base.data());
    const Weight::Product product{weight, y.data(), attached.copy.get()};
    Weight::matmul_together({&product, 1}, x.data(), n);
    const auto top = [](const float* from, int64_t count) {
      double most = 0;
      for (int64_t i = 0; i < count; ++i) most = std::max(most, std::fabs(double{from[i]}));
      return most;
    };
    for (int64_t i = 0; i < n; ++i) {
      std::vector<double> h(16), off(16);  // exact, and what it may be off by
      for (int64_t k = 0; k < 16; ++k) {
        for (int64_t c = 0; c < kCols; ++c) {
          const int64_t group = c / 32 * 32;
          const double value = x[static_cast<size_t>(i * kCols + c)];
          const double x_off = top(x.data() + i * kCols + group, 32) / 250;
          const double factor = attached.a[static_cast<size_t>(k * kCols + c)];
          const double a_off = top(attached.a.data() + k * kCols + group, 32) / 220;
          h[static_cast<size_t>(k)] += value * factor;
          off[static_cast<size_t>(k)] +=
              std::fabs(value) * a_off + (std::fabs(factor) + a_off) * x_off;
        }
      }
      for (int64_t r = 0; r < attached.rows; ++r) {
        const auto at = static_cast<size_t>(i * attached.rows + r);
        const float* b = attached.b.data() + r * 16;
        double wanted = base[at], bound = 1e-5 * std::fabs(double{base[at]});
        for (size_t k = 0; k < 16; ++k) {
          const double b_off = top(b, 16) / 250;
          wanted += 0.5 * h[k] * double{b[k]};
          bound += 0.5 * (off[k] * std::fabs(double{b[k]}) + (std::fabs(h[k]) + off[k]) * b_off);
        }
        EXPECT_NEAR(y[at], wanted, bound) << size << ' ' << i << ' ' << r;
        // Rounding errors of both signs: what they come to is far less than their bound.
        EXPECT_NEAR(y[at], wanted, std::max(1e-5 * std::fabs(double{base[at]}), bound / 10));
      }
    }
  }
}

// Few rows take h's rows as more rows of weights, many make them as x is rounded; and either way
// several weights, one of them without anything attached, are one call.
TEST(LowRank, BitsDoNotDependOnThreadsOrOnOtherRows) {
  const int before = thread_count();
  const std::vector<Weight> weights = {random_weight("q4_1", 91), random_weight("q8_0", 300),
                                       random_weight("q4_0", 33)};
  const Attached first(91, 16), last(33, 37);
  const int64_t n = 200;  // x is rounded by several threads
  const auto x = normals(n * kCols, 6);
  const auto run = [&](int threads, int64_t begin, int64_t count) {
    set_thread_count(threads);
    std::vector<std::vector<float>> y;
    for (const Weight& w : weights) y.emplace_back(static_cast<size_t>(count * w.rows()), 9.0f);
    const Weight::Product products[] = {{weights[0], y[0].data(), first.copy.get()},
                                        {weights[1], y[1].data()},
                                        {weights[2], y[2].data(), last.copy.get()}};
    Weight::matmul_together(products, x.data() + begin * kCols, count);
    return y;
  };
  const auto all = run(1, 0, n);
  for (const int threads : {1, 2, 4}) {
    EXPECT_EQ(all, run(threads, 0, n)) << threads;
    for (const int64_t count : {1, 3, 8, 60}) {
      const auto some = run(threads, 11, count);
      for (size_t w = 0; w < weights.size(); ++w) {
        const auto from = all[w].begin() + 11 * weights[w].rows();
        EXPECT_TRUE(std::equal(some[w].begin(), some[w].end(), from)) << threads << ' ' << count;
      }
    }
  }
  set_thread_count(before);
}

TEST(LowRank, ACopyIsSmallAndThereIsNoneOfWhatItCannotHold) {
  const Attached attached(64, 16);
  const size_t exact = sizeof(float) * (attached.a.size() + attached.b.size());
  EXPECT_LT(attached.copy->bytes(), exact * 29 / 100);
  const auto make = [](std::vector<float> a, std::vector<float> b, int64_t rank, int64_t cols) {
    return LowRankCopy::make(a.data(), b.data(), rank, cols, std::ssize(b) / rank, 2.0);
  };
  EXPECT_NE(nullptr, make(std::vector<float>(64, 0.0f), std::vector<float>(20, 1.0f), 2, 32));
  EXPECT_EQ(nullptr, make(std::vector<float>(40, 1.0f), std::vector<float>(20, 1.0f), 1, 40));
  EXPECT_EQ(nullptr, make(std::vector<float>(513 * 32), std::vector<float>(513), 513, 32));
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    std::vector<float> values(64, 1.0f);
    values[40] = bad;
    EXPECT_EQ(nullptr, make(values, std::vector<float>(20, 1.0f), 2, 32));
    EXPECT_EQ(nullptr, make(std::vector<float>(64, 1.0f), values, 2, 32));
  }
}

TEST(LowRank, WhatIsNotANumberStaysOne) {
  const Attached attached(20, 16);
  std::vector<float> h(3 * 16, 1.0f);
  h[5] = std::numeric_limits<float>::quiet_NaN();
  h[16 + 9] = -std::numeric_limits<float>::infinity();
  std::fill_n(h.begin() + 32, 16, 1e-36f);
  const Inner inner(h, 16);
  std::vector<float> y(3 * 20, 1.0f);
  attached.copy->add_to(inner.rows, y.data(), 0, 20);
  EXPECT_TRUE(std::isnan(y[0]) && std::isnan(y[20 + 19]));
  EXPECT_EQ(y[40], 1.0f);
}

}  // namespace
}  // namespace moxie::quant
