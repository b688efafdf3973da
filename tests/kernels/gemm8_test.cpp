#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/cpu.h"
#include "base/threads.h"
#include "kernels/gemm.h"
#include "kernels/micro8.h"
#include "kernels/products.h"
#include "kernels/rounded_rows.h"
#include "normals.h"

namespace moxie::kernels {
namespace {

// Tiles, panels, blocks and steps with and without remainders; 3000 k's take more than one panel,
// 5000 rows of 1000 more than one piece of A.
const Size kSizes[] = {{5, 8, 1},     {6, 16, 8},     {7, 24, 33},   {13, 104, 129},
                       {16, 8, 64},   {33, 64, 385},  {64, 8, 3000}, {97, 136, 101},
                       {30, 704, 24}, {5000, 8, 1000}};

std::vector<float> run(const Size& s, const std::vector<float>& a, const std::vector<float>& b,
                       std::vector<float> c, bool accumulate) {
  const Rows rows{&b, s.n};
  const RowDecoder decoder{&rows, copy_row<8>, 8};
  gemm_nn(s.m, s.n, s.k, a.data(), decoder, c.data(), accumulate, Arithmetic::kInt8);
  return c;
}

TEST(Gemm8, IsOffByNoMoreThanTheRoundingOfItsFactors) {
  for (const Size& s : kSizes) {
    const auto a = normals(s.m * s.k, 1);
    const auto b = normals(s.n * s.k, 2);
    const auto start = normals(s.m * s.n, 3);
    for (const bool accumulate : {false, true}) {
      const auto c = run(s, a, b, start, accumulate);
      expect_rounded(Kind::kNN, s, a, b, accumulate ? start : std::vector<float>(c.size()), c,
                     {1.0 / (2 * kMostA8), 1.0 / (2 * kMostB8)});
    }
  }
}

// The same codes whichever way a factor is given, and alpha within their scales.
TEST(Gemm8, DenseFactorsHaveTheBitsOfDecodedOnes) {
  for (const Size& s : kSizes) {
    const auto a = normals(s.m * s.k, 1);
    const auto b = normals(s.n * s.k, 2);
    const auto start = normals(s.m * s.n, 3);
    for (const bool accumulate : {false, true}) {
      auto c = start;
      product(Kind::kNN, Arithmetic::kInt8, s, a.data(), b.data(), c.data(), accumulate, 1.0f);
      EXPECT_EQ(c, run(s, a, b, start, accumulate)) << s.m << 'x' << s.n << 'x' << s.k;
    }
    auto halves = run(s, a, b, std::vector<float>(start.size()), false);
    for (float& x : halves) x *= 0.5f;
    std::vector<float> c(start.size());
    product(Kind::kNN, Arithmetic::kInt8, s, a.data(), b.data(), c.data(), false, 0.5f);
    EXPECT_EQ(c, halves);
  }
}

TEST(Gemm8, OtherProductsStayIn16Bits) {
  const Size s{40, 48, 300};
  const auto a = normals(s.m * s.k, 1);
  const auto b = normals(s.n * s.k, 2);
  for (const Kind kind : {Kind::kNT, Kind::kTN}) {
    std::vector<float> c(static_cast<size_t>(s.m * s.n)), want(c);
    product(kind, Arithmetic::kInt8, s, a.data(), b.data(), c.data(), false, 1.0f);
    product(kind, Arithmetic::kInt16, s, a.data(), b.data(), want.data(), false, 1.0f);
    EXPECT_EQ(c, want);
  }
}

TEST(Gemm8, BitsDoNotDependOnThreads) {
  const int before = thread_count();
  for (const Size& s : kSizes) {
    const auto a = normals(s.m * s.k, 4);
    const auto b = normals(s.n * s.k, 5);
    const std::vector<float> none(static_cast<size_t>(s.m * s.n));
    std::vector<float> first;
    for (const int threads : {1, 2, 3}) {
      set_thread_count(threads);
      const auto c = run(s, a, b, none, false);
      if (threads == 1) first = c;
      EXPECT_EQ(c, first);
    }
  }
  set_thread_count(before);
}

TEST(Gemm8, RowsDoNotDependOnOthers) {
  const Size s{50, 64, 700};
  const auto a = normals(s.m * s.k, 6);
  const auto b = normals(s.n * s.k, 7);
  const auto all = run(s, a, b, std::vector<float>(static_cast<size_t>(s.m * s.n)), false);
  const Size one{1, s.n, s.k};
  for (int64_t i = 0; i < s.m; i += 7) {
    const std::vector<float> row(a.begin() + i * s.k, a.begin() + (i + 1) * s.k);
    const auto c = run(one, row, b, std::vector<float>(static_cast<size_t>(s.n)), false);
    EXPECT_EQ(std::memcmp(c.data(), all.data() + i * s.n, c.size() * 4), 0);
  }
}

TEST(Gemm8, NumbersOutOfRangeSpoilTheirOwnRowsAndColumnsOnly) {
  const Size s{9, 40, 500};
  auto a = normals(s.m * s.k, 6);
  auto b = normals(s.n * s.k, 7);
  const std::vector<float> none(static_cast<size_t>(s.m * s.n));
  const auto whole = run(s, a, b, none, false);
  a[at_a(Kind::kNN, s, 2, 450)] = std::numeric_limits<float>::infinity();
  b[at_b(Kind::kNN, s, 3, 20)] = std::numeric_limits<float>::quiet_NaN();
  const auto c = run(s, a, b, none, false);
  expect_spoilt(s, 2, 20, c, whole);
}

// dh and what it adds, beside the product without it.
TEST(Gemm8, TakesALoraAlong) {
  for (const Size& s : {Size{7, 40, 100}, Size{50, 48, 576}, Size{9, 24, 3000}}) {
    for (const int64_t rank : {1, 8, 16, 37, 128}) {
      const auto a = normals(s.m * s.k, 8);
      const auto w = normals(s.n * s.k, 9);
      const auto b = normals(s.k * rank, 10);
      const auto u = normals(rank * s.n, 11);
      const std::vector<float> start(static_cast<size_t>(s.m * s.n), 3.0f);
      const auto alone = run(s, a, w, start, true);
      auto c = start;
      std::vector<float> dh(static_cast<size_t>(s.m * rank), 77);
      const Rows rows{&w, s.n};
      const RowDecoder decoder{&rows, copy_row<8>, 8};
      const ThinTerm thin{rank, b.data(), u.data(), 0.5f, dh.data()};
      gemm_nn_int8(s.m, s.n, s.k, a.data(), decoder, thin, c.data(), true);
      double off_inner = 0, inner = 0, off = 0, added = 0;
      for (int64_t i = 0; i < s.m; ++i) {
        for (int64_t q = 0; q < rank; ++q) {
          double want = 0;
          for (int64_t p = 0; p < s.k; ++p)
            want += 0.5 * a[size_t(i * s.k + p)] * b[size_t(p * rank + q)];
          off_inner += std::pow(dh[size_t(i * rank + q)] - want, 2);
          inner += want * want;
        }
        for (int64_t j = 0; j < s.n; ++j) {
          double want = 0;
          for (int64_t q = 0; q < rank; ++q)
            want += double{dh[size_t(i * rank + q)]} * u[size_t(q * s.n + j)];
          off += std::pow(double{c[size_t(i * s.n + j)]} - alone[size_t(i * s.n + j)] - want, 2);
          added += want * want;
        }
      }
      EXPECT_LT(std::sqrt(off_inner / inner), 0.025) << s.k << ", rank " << rank;
      EXPECT_LT(std::sqrt(off / added), 0.02) << s.k << ", rank " << rank;
      EXPECT_GT(off + off_inner, 0) << "nothing was rounded";
    }
  }
}

// The largest codes of one sign everywhere: sums of 16 bits must not wrap.
// The same of numbers from 0 on that are rounded before.
std::vector<float> run_rounded(const Size& s, const std::vector<float>& a,
                               const std::vector<float>& b) {
  const RoundedRows rounded(s.m, s.k, Arithmetic::kInt8);
  for (int64_t i = 0; i < s.m; ++i) {
    for (int64_t first = 0; first < s.k; first += rounded.span())
      rounded.round(first / rounded.span(), i, a.data() + i * s.k + first);
  }
  const Rows rows{&b, s.n};
  std::vector<float> c(static_cast<size_t>(s.m * s.n), 7.0f);
  multiply_nn(rounded, s.n, {&rows, copy_row<8>, 8}, c.data());
  return c;
}

TEST(Gemm8, RowsRoundedBeforeHaveABitMore) {
  for (const Size& s : kSizes) {
    auto a = normals(s.m * s.k, 1);
    for (float& x : a) x = std::fabs(x);
    const auto b = normals(s.n * s.k, 2);
    const auto c = run_rounded(s, a, b);
    expect_rounded(Kind::kNN, s, a, b, std::vector<float>(c.size()), c,
                   {1.0 / (2 * kMostPositive8), 1.0 / (2 * kMostB8)});
  }
}

TEST(Gemm8, HoldsTheLargestSums) {
  const Size s{6, 16, 256};
  for (const float sign : {1.0f, -1.0f}) {
    const std::vector<float> a(static_cast<size_t>(s.m * s.k), 2.0f);
    const std::vector<float> b(static_cast<size_t>(s.n * s.k), sign);
    const auto c = run(s, a, b, std::vector<float>(static_cast<size_t>(s.m * s.n)), false);
    for (const float x : c) EXPECT_NEAR(x, 512 * sign, 1e-3);
    for (const float x : run_rounded(s, a, b)) EXPECT_NEAR(x, 512 * sign, 1e-3);
  }
}

#ifndef MOXIE_SCALAR_ONLY
TEST(Micro8, TheVectorTableHasTheBitsOfTheScalarOne) {
  if (active_isa() < Isa::kAvx2) GTEST_SKIP() << "needs AVX2";
  const auto& fast = kMicro8Avx2;
  const auto& plain = kMicro8Scalar;
  auto x = normals(kCols8 * kDepth8 + 1, 11);  // the second block begins one number later
  x[5] = std::numeric_limits<float>::infinity();
  for (int64_t p = 0; p < kDepth8; ++p) {  // below what can be scaled, and about there
    x[static_cast<size_t>(p * kCols8 + 7)] *= 1e-38f;
    x[static_cast<size_t>(p * kCols8 + 9)] *= 1e-36f;
    x[static_cast<size_t>(p * kCols8 + 11)] *= 4e-37f;
  }
  for (const int64_t k : {1, 2, 3, 7, 8, 30, 32, 77, 128}) {
    const int64_t depth = (k + 15) / 8 * 8;  // for some of them a step more than they need
    std::vector<uint8_t> rows(static_cast<size_t>(4 * 2 * depth), 77), others(rows);
    float a_scales[8], wanted[8];
    for (int64_t part = 0; part < 8; ++part) {  // the first holds a number that is infinite
      const float* from = x.data() + 100 * part;
      a_scales[part] = fast.round_row(from, k, rows.data() + part * depth);
      wanted[part] = plain.round_row(from, k, others.data() + part * depth);
    }
    EXPECT_EQ(rows, others);
    EXPECT_EQ(std::memcmp(a_scales, wanted, sizeof wanted), 0);
    std::vector<float> positive(x.begin() + 100, x.begin() + 100 + k);
    for (float& number : positive) number = std::fabs(number);
    std::vector<uint8_t> codes(static_cast<size_t>(depth), 77), same(codes);
    EXPECT_EQ(fast.round_positive(positive.data(), k, codes.data()),
              plain.round_positive(positive.data(), k, same.data()));
    EXPECT_EQ(codes, same);
    for (int n = 1; n <= kCols8; ++n) {
      std::vector<int8_t> panel(static_cast<size_t>(2 * block8_bytes(depth)), 77), other(panel);
      for (int64_t block = 0; block < 2; ++block) {
        const int64_t at = block * block8_bytes(depth);
        fast.round_columns(x.data() + block, kCols8, k, n, depth, panel.data() + at);
        plain.round_columns(x.data() + block, kCols8, k, n, depth, other.data() + at);
      }
      EXPECT_EQ(panel, other);
      std::vector<float> c(4 * 20, 1.5f), d(c);
      const int64_t last = (k + kStep8 - 1) / kStep8 * kStep8;
      Tile8 tile{4,           n,         2,         depth, last,
                 rows.data(), 2 * depth, a_scales,  2,     panel.data(),
                 c.data(),    20,        n % 2 == 0};
      fast.tile(tile);
      tile.c = d.data();
      plain.tile(tile);
      EXPECT_EQ(std::memcmp(c.data(), d.data(), c.size() * 4), 0);
    }
  }
}
#endif

}  // namespace
}  // namespace moxie::kernels
