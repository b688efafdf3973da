#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/cpu.h"
#include "base/threads.h"
#include "kernels/gemm.h"
#include "kernels/micro16.h"
#include "kernels/products.h"
#include "kernels/rounded_rows.h"
#include "normals.h"

namespace moxie::kernels {
namespace {

// Tiles, panels and blocks with and without remainders; the last needs more than one piece of A.
const Size kSizes[] = {{5, 1, 1},   {6, 16, 2},     {7, 17, 33},    {5, 16, 8},     {13, 100, 9},
                       {16, 8, 64}, {33, 64, 385},  {64, 5, 800},   {97, 130, 101}, {30, 700, 24},
                       {50, 30, 1}, {20, 33, 1001}, {20, 3, 131072}};

class Gemm16 : public testing::TestWithParam<Kind> {};

TEST_P(Gemm16, IsOffByNoMoreThanTheRoundingOfItsFactors) {
  for (const Size& s : kSizes) {
    const auto a = normals(s.m * s.k, 1);
    const auto b = normals(s.n * s.k, 2);
    const auto start = normals(s.m * s.n, 3);
    float most_a = 0, most_b = 0;
    for (const float x : a) most_a = std::max(most_a, std::fabs(x));
    for (const float x : b) most_b = std::max(most_b, std::fabs(x));
    for (const bool accumulate : {false, true}) {
      auto c = start;
      product(GetParam(), Arithmetic::kInt16, s, a.data(), b.data(), c.data(), accumulate, 0.5f);
      double squares = 0, wanted = 0;
      for (int64_t i = 0; i < s.m; ++i) {
        for (int64_t j = 0; j < s.n; ++j) {
          const auto at = static_cast<size_t>(i * s.n + j);
          double want = accumulate ? start[at] : 0.0;
          double bound = 1e-6;
          for (int64_t p = 0; p < s.k; ++p) {
            const double x = a[at_a(GetParam(), s, i, p)];
            const double y = b[at_b(GetParam(), s, p, j)];
            want += 0.5 * x * y;
            bound += 0.5 * ((std::fabs(x) + 1e-3) * most_b + (std::fabs(y) + 1e-3) * most_a) / 4094;
          }
          ASSERT_NEAR(c[at], want, bound)
              << s.m << 'x' << s.n << 'x' << s.k << " at " << i << ',' << j;
          squares += (c[at] - want) * (c[at] - want);
          wanted += want * want;
        }
      }
      EXPECT_LT(std::sqrt(squares / wanted), 1e-3) << s.m << 'x' << s.n << 'x' << s.k;
    }
  }
}

TEST_P(Gemm16, BitsDoNotDependOnThreads) {
  const int before = thread_count();
  for (const Size& s : kSizes) {
    const auto a = normals(s.m * s.k, 4);
    const auto b = normals(s.n * s.k, 5);
    std::vector<float> first(static_cast<size_t>(s.m * s.n));
    for (const int threads : {1, 2, 3}) {
      set_thread_count(threads);
      std::vector<float> c(first.size());
      product(GetParam(), Arithmetic::kInt16, s, a.data(), b.data(), c.data(), false, 1.0f);
      if (threads == 1) first = c;
      EXPECT_EQ(std::memcmp(c.data(), first.data(), c.size() * 4), 0);
    }
  }
  set_thread_count(before);
}

TEST_P(Gemm16, NumbersOutOfRangeSpoilTheirOwnRowsAndColumnsOnly) {
  const Size s{9, 40, 500};
  auto a = normals(s.m * s.k, 6);
  auto b = normals(s.n * s.k, 7);
  std::vector<float> whole(static_cast<size_t>(s.m * s.n)), c(whole);
  product(GetParam(), Arithmetic::kInt16, s, a.data(), b.data(), whole.data(), false, 1.0f);
  a[at_a(GetParam(), s, 2, 450)] = std::numeric_limits<float>::infinity();
  b[at_b(GetParam(), s, 3, 20)] = std::numeric_limits<float>::quiet_NaN();
  product(GetParam(), Arithmetic::kInt16, s, a.data(), b.data(), c.data(), false, 1.0f);
  expect_spoilt(s, 2, 20, c, whole);
}

INSTANTIATE_TEST_SUITE_P(Kinds, Gemm16, testing::Values(Kind::kNN, Kind::kNT, Kind::kTN));

TEST(Gemm16Decoded, EqualsTheDenseProduct) {
  const int64_t out = 70, in = 512;  // blocks of k are 256 deep either way
  const auto w = normals(out * in, 8);
  const Rows rows{&w, in};
  const RowDecoder decoder{&rows, copy_row<256>, 256};
  for (const int64_t m : {5, 37}) {
    const auto x = normals(m * in, 9);
    std::vector<float> y(static_cast<size_t>(m * out), 1.0f), want(y);
    gemm_nt(m, out, in, x.data(), decoder, y.data(), true, Arithmetic::kInt16);
    gemm_nt(m, out, in, x.data(), w.data(), want.data(), true, 1, Arithmetic::kInt16);
    EXPECT_EQ(y, want);
    const auto dy = normals(m * out, 10);
    std::vector<float> dx(static_cast<size_t>(m * in)), expected(dx);
    gemm_nn(m, in, out, dy.data(), decoder, dx.data(), false, Arithmetic::kInt16);
    gemm_nn(m, in, out, dy.data(), w.data(), expected.data(), false, 1, Arithmetic::kInt16);
    EXPECT_EQ(dx, expected);
  }
}

TEST(Gemm16Rounded, EqualsTheProductThatRoundsThem) {
  const int64_t in = 70;
  for (const int64_t out : {1, 33, 384, 1001}) {
    const auto w = normals(out * in, 12);
    const Rows rows{&w, in};
    const RowDecoder decoder{&rows, copy_row<1>, 1};
    for (const int64_t m : {1, 37}) {
      const auto dy = normals(m * out, 13);
      const RoundedRows rounded(m, out, Arithmetic::kInt16);
      for (int64_t i = 0; i < m; ++i) {
        for (int64_t first = 0; first < out; first += rounded.span())
          rounded.round(first / rounded.span(), i, dy.data() + i * out + first);
      }
      std::vector<float> dx(static_cast<size_t>(m * in)), want(dx);
      multiply_nn(rounded, in, decoder, dx.data());
      gemm_nn(m, in, out, dy.data(), decoder, want.data(), false, Arithmetic::kInt16);
      EXPECT_EQ(dx, want) << m << " x " << out;
    }
  }
}

#ifndef MOXIE_SCALAR_ONLY
// Of that many rows, which are taken from the panel as well.
void compare_tiles(const Micro16& fast, int rows, int n, const std::vector<int32_t>& panel,
                   const float* scales) {
  const float a_scales[kCols16] = {0.5f, 0.25f, 3.0f, 1e-3f, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  std::vector<float> c(static_cast<size_t>(rows) * 20, 1.5f), d(c);
  Tile16 tile{rows,         n,        static_cast<int64_t>(panel.size()) / kCols16,
              panel.data(), 1,        kCols16,
              panel.data(), a_scales, scales,
              c.data(),     20,       n % 2 == 0};
  fast.tile(tile);
  tile.c = d.data();
  kMicro16Scalar.tile(tile);
  EXPECT_EQ(std::memcmp(c.data(), d.data(), c.size() * 4), 0);
}

void compare_with_scalar(const Micro16& fast) {
  const auto& plain = kMicro16Scalar;
  auto x = normals(kCols16 * 90, 11);
  x[5] = std::numeric_limits<float>::infinity();
  for (int64_t p = 0; p < 90; ++p) {  // below what can be scaled, and about there
    x[static_cast<size_t>(p * kCols16 + 7)] *= 1e-37f;
    x[static_cast<size_t>(p * kCols16 + 9)] *= 1e-35f;
    x[static_cast<size_t>(p * kCols16 + 11)] *= 4e-35f;
  }
  for (const int64_t k : {1, 2, 15, 16, 33, 80}) {
    const auto pairs = static_cast<size_t>((k + 1) / 2);
    std::vector<int16_t> codes(2 * pairs, 77), want(codes);
    for (const int most : {kMost16, 32767}) {
      EXPECT_EQ(fast.round_row(x.data() + 100, k, most, codes.data()),
                plain.round_row(x.data() + 100, k, most, want.data()));
      EXPECT_EQ(codes, want);
    }
    for (const int64_t from : {100, 0}) {  // 0: with a number that is infinite
      const float scale = fast.round_spread(x.data() + from, k, codes.data());
      const float wanted = plain.round_spread(x.data() + from, k, want.data());
      EXPECT_EQ(std::memcmp(&scale, &wanted, sizeof scale), 0);
      EXPECT_EQ(codes, want);
    }
    for (int n = 1; n <= kCols16; ++n) {
      std::vector<int32_t> panel(pairs * kCols16, 77), other(panel), back(panel), again(panel);
      float scales[kCols16], wanted[kCols16];
      fast.round_columns(x.data(), kCols16, k, n, panel.data(), scales);
      plain.round_columns(x.data(), kCols16, k, n, other.data(), wanted);
      EXPECT_EQ(panel, other);
      EXPECT_EQ(std::memcmp(scales, wanted, sizeof scales), 0);
      fast.transpose(n, static_cast<int64_t>(pairs), panel.data(), back.data());
      plain.transpose(n, static_cast<int64_t>(pairs), panel.data(), again.data());
      EXPECT_EQ(back, again);
      for (const int rows : {1, 4, fast.rows}) compare_tiles(fast, rows, n, panel, scales);
    }
  }
}

TEST(Micro16, Avx2HasTheBitsOfTheScalarTable) {
  if (active_isa() < Isa::kAvx2) GTEST_SKIP() << "needs AVX2";
  compare_with_scalar(kMicro16Avx2);
}

TEST(Micro16, Avx512HasTheBitsOfTheScalarTable) {
  if (!has_avx512_vnni()) GTEST_SKIP() << "needs AVX-512 VNNI";
  compare_with_scalar(kMicro16Avx512);
}
#endif

TEST(Micro16, ASpreadRowHasTheBitsThatItsSumAllows) {
  const auto codes_of = [](const std::vector<float>& x) {
    std::vector<int16_t> codes(x.size());
    micro16().round_spread(x.data(), static_cast<int64_t>(x.size()), codes.data());
    return codes;
  };
  std::vector<float> peak(kDeepest16, 1e-4f);
  peak[7] = -1;
  const auto codes = codes_of(peak);
  EXPECT_EQ(codes[7], -32767);
  EXPECT_EQ(codes[8], 3);
  const auto level = codes_of(std::vector<float>(kDeepest16, 0.25f));
  EXPECT_EQ(level[0], kMost16);
  EXPECT_LT(int64_t{level[0]} * kDeepest16 * kMost16, int64_t{1} << 31);
  const auto half = codes_of(std::vector<float>(100, 0.25f));
  EXPECT_GT(half[0], 10000);
  EXPECT_LT(int64_t{half[0]} * 100 * kMost16, int64_t{1} << 31);
}

}  // namespace
}  // namespace moxie::kernels
