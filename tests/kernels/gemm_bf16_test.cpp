#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/cpu.h"
#include "base/threads.h"
#include "kernels/gemm.h"
#include "kernels/micro_tiles.h"
#include "kernels/products.h"
#include "normals.h"

namespace moxie::kernels {
namespace {

double rounded(float x) {
  return to_float(to_bfloat16(x));
}

// Bands, tiles and blocks with and without remainders; the last needs more than one piece of A.
const Size kSizes[] = {{5, 1, 1},     {6, 16, 2},    {7, 17, 33},    {17, 33, 32},
                       {32, 32, 64},  {33, 64, 577}, {64, 5, 800},   {97, 130, 101},
                       {30, 700, 24}, {50, 30, 1},   {20, 3, 270000}};

class GemmBF16 : public testing::TestWithParam<Kind> {};

TEST_P(GemmBF16, IsTheProductOfTheRoundedFactors) {
  for (const Size& s : kSizes) {
    const auto a = normals(s.m * s.k, 1);
    const auto b = normals(s.n * s.k, 2);
    const auto start = normals(s.m * s.n, 3);
    for (const bool accumulate : {false, true}) {
      for (const float alpha : {1.0f, 0.5f}) {
        auto c = start;
        product(GetParam(), Arithmetic::kBF16, s, a.data(), b.data(), c.data(), accumulate, alpha);
        for (int64_t i = 0; i < s.m; ++i) {
          for (int64_t j = 0; j < s.n; ++j) {
            const auto at = static_cast<size_t>(i * s.n + j);
            double want = accumulate ? start[at] : 0.0;
            double size = std::fabs(want);
            for (int64_t p = 0; p < s.k; ++p) {
              const double x = alpha * rounded(a[at_a(GetParam(), s, i, p)]) *
                               rounded(b[at_b(GetParam(), s, p, j)]);
              want += x;
              size += std::fabs(x);
            }
            ASSERT_NEAR(c[at], want, 3e-6 * size)
                << s.m << 'x' << s.n << 'x' << s.k << " at " << i << ',' << j;
          }
        }
      }
    }
  }
}

TEST_P(GemmBF16, BitsDoNotDependOnThreadsOrOtherRows) {
  const int before = thread_count();
  for (const Size& s : kSizes) {
    const auto a = normals(s.m * s.k, 4);
    const auto b = normals(s.n * s.k, 5);
    std::vector<float> first(static_cast<size_t>(s.m * s.n));
    for (const int threads : {1, 2, 3}) {
      set_thread_count(threads);
      std::vector<float> c(first.size());
      product(GetParam(), Arithmetic::kBF16, s, a.data(), b.data(), c.data(), false, 1.0f);
      if (threads == 1) first = c;
      EXPECT_EQ(std::memcmp(c.data(), first.data(), c.size() * 4), 0);
    }
    if (GetParam() == Kind::kTN) continue;
    const int64_t some = std::min<int64_t>(s.m, 5);
    std::vector<float> c(static_cast<size_t>(some * s.n));
    product(GetParam(), Arithmetic::kBF16, {some, s.n, s.k}, a.data(), b.data(), c.data(), false,
            1.0f);
    EXPECT_EQ(std::memcmp(c.data(), first.data(), c.size() * 4), 0);
  }
  set_thread_count(before);
}

TEST_P(GemmBF16, NumbersOutOfRangeSpoilTheirOwnRowsAndColumnsOnly) {
  const Size s{40, 40, 500};
  auto a = normals(s.m * s.k, 6);
  auto b = normals(s.n * s.k, 7);
  std::vector<float> whole(static_cast<size_t>(s.m * s.n)), c(whole);
  product(GetParam(), Arithmetic::kBF16, s, a.data(), b.data(), whole.data(), false, 1.0f);
  a[at_a(GetParam(), s, 2, 450)] = std::numeric_limits<float>::quiet_NaN();
  b[at_b(GetParam(), s, 3, 20)] = std::numeric_limits<float>::quiet_NaN();
  product(GetParam(), Arithmetic::kBF16, s, a.data(), b.data(), c.data(), false, 1.0f);
  expect_spoilt(s, 2, 20, c, whole);
}

INSTANTIATE_TEST_SUITE_P(Kinds, GemmBF16, testing::Values(Kind::kNN, Kind::kNT, Kind::kTN));

TEST(GemmBF16Decoded, EqualsTheDenseProduct) {
  const int64_t out = 70, in = 1152;
  const auto w = normals(out * in, 8);
  const Rows rows{&w, in};
  std::vector<BFloat16> bf16;
  for (const float x : w) bf16.push_back(to_bfloat16(x));
  const RowDecoder decoded{&rows, copy_row<32>, 32};
  const RowDecoder plain{&rows, copy_row<32>, 1, bf16.data(), DType::kBF16};
  for (const RowDecoder& decoder : {decoded, plain}) {
    for (const int64_t m : {5, 37}) {
      const auto x = normals(m * in, 9);
      std::vector<float> y(static_cast<size_t>(m * out), 1.0f), want(y);
      gemm_nt(m, out, in, x.data(), decoder, y.data(), true, Arithmetic::kBF16);
      gemm_nt(m, out, in, x.data(), w.data(), want.data(), true, 1, Arithmetic::kBF16);
      EXPECT_EQ(y, want);
      const auto dy = normals(m * out, 10);
      std::vector<float> dx(static_cast<size_t>(m * in), 1.0f), dwant(dx);
      gemm_nn(m, in, out, dy.data(), decoder, dx.data(), true, Arithmetic::kBF16);
      gemm_nn(m, in, out, dy.data(), w.data(), dwant.data(), true, 1, Arithmetic::kBF16);
      EXPECT_EQ(dx, dwant);
    }
  }
}

// Tables of what this CPU has beside the reference.
std::vector<const MicroTiles*> tables() {
  std::vector<const MicroTiles*> list{&kMicroBF16Scalar};
#ifndef MOXIE_SCALAR_ONLY
  if (has_bf16_tiles()) list.push_back(&kMicroBF16Fma);
  if (kHasAvx512BF16) list.push_back(&kMicroBF16Avx512);
  if (amx_is_active()) list.push_back(&kMicroBF16Amx);
#endif
  return list;
}

TEST(MicroTiles, EveryInstructionSetPacksAlike) {
  const auto src = normals(40 * 100, 11);
  std::vector<BFloat16> src16;
  for (const float x : src) src16.push_back(to_bfloat16(x));
  for (const MicroTiles* table : tables()) {
    for (const int64_t lines : {1, 15, 16, 17, 32}) {
      for (const int64_t k : {1, 31, 32, 71}) {
        for (const Side side : {Side::kA, Side::kB}) {
          const auto size = static_cast<size_t>((k + 31) / 32 * 2 * kTileSize);
          const auto pack = [&](const MicroTiles& with, int way) {
            std::vector<BFloat16> band(size);
            if (way == 0) with.along(src.data(), 100, lines, k, side, band.data());
            if (way == 1) with.across(src.data(), 40, lines, k, side, band.data());
            if (way == 2) with.along_bf16(src16.data(), 100, lines, k, side, band.data());
            if (way == 3) with.across_bf16(src16.data(), 40, lines, k, side, band.data());
            return band;
          };
          for (int way = 0; way < 4; ++way) {
            const auto got = pack(*table, way), want = pack(kMicroBF16Scalar, way);
            EXPECT_EQ(std::memcmp(got.data(), want.data(), size * 2), 0)
                << lines << " lines of " << k << ", way " << way;
          }
        }
      }
    }
  }
}

TEST(MicroTiles, EveryInstructionSetMultipliesAlike) {
  const int64_t k = 96;
  const auto a = normals(32 * k, 12), b = normals(32 * k, 13), start = normals(32 * 40, 14);
  std::vector<BFloat16> pa(static_cast<size_t>(32 * k)), pb(pa);
  kMicroBF16Scalar.along(a.data(), k, 32, k, Side::kA, pa.data());
  kMicroBF16Scalar.along(b.data(), k, 32, k, Side::kB, pb.data());
  for (const MicroTiles* table : tables()) {
    for (const int rows : {1, 8, 16, 17, 31, 32}) {
      for (const int cols : {1, 16, 20, 32}) {
        for (const bool accumulate : {false, true}) {
          auto got = start, want = start;
          TileBlock block{rows, cols, 3, pa.data(), pb.data(), want.data(), 40, 1, accumulate};
          kMicroBF16Scalar.multiply(block);
          block.c = got.data();
          table->enter();
          table->multiply(block);
          table->leave();
          for (size_t i = 0; i < got.size(); ++i) {
            const bool is_written = i / 40 < size_t(rows) && i % 40 < size_t(cols);
            ASSERT_NEAR(got[i], want[i], is_written ? 1e-4 : 0.0) << rows << 'x' << cols;
          }
        }
      }
    }
  }
}

TEST(GemmTiles8, IsOffByNoMoreThanTheRoundingOfItsFactors) {
  for (const Size& s : kSizes) {
    if (s.k > 1000) continue;
    const auto a = normals(s.m * s.k, 1);
    const auto b = normals(s.n * s.k, 2);
    const auto start = normals(s.m * s.n, 3);
    for (const bool accumulate : {false, true}) {
      const auto before = accumulate ? start : std::vector<float>(start.size());
      for (const Kind kind : {Kind::kNN, Kind::kNT, Kind::kTN}) {
        auto c = start;
        product(kind, Arithmetic::kTiles8, s, a.data(), b.data(), c.data(), accumulate, 1.0f);
        expect_rounded(kind, s, a, b, before, c, {0.5 / 127, 0.5 / 127});
      }
    }
  }
}

TEST(GemmTiles8, TakesNumbersOfBF16AsTheyStand) {
  const Size s{70, 45, 300};
  const auto a = normals(s.m * s.k, 1);
  auto b = normals(s.n * s.k, 2);
  std::vector<BFloat16> halves;
  for (float& value : b) {
    halves.push_back(to_bfloat16(value));
    value = to_float(halves.back());
  }
  for (const bool accumulate : {false, true}) {
    auto got = normals(s.m * s.n, 3), want = got;
    gemm_tn(s.m, s.n, s.k, a.data(), halves.data(), got.data(), accumulate);
    gemm_tn(s.m, s.n, s.k, a.data(), b.data(), want.data(), accumulate, 1, Arithmetic::kTiles8);
    EXPECT_EQ(got, want);
  }
}

}  // namespace
}  // namespace moxie::kernels
