#include "kernels/coded_panel.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/threads.h"
#include "kernels/products.h"
#include "normals.h"
#include "off_by.h"

namespace moxie::kernels {
namespace {

// A band of `tiles` pairs of tiles, of lines of very different size.
std::vector<BFloat16> band_of(int64_t tiles, Side side, uint64_t seed) {
  const int64_t depth = tiles * kTileDepth;
  std::vector<float> values = normals(kBandLines * depth, seed);
  for (int64_t line = 0; line < kBandLines; ++line) {
    for (int64_t k = 0; k < depth; ++k)
      values[static_cast<size_t>(line * depth + k)] *= std::ldexp(1.0f, static_cast<int>(line) - 9);
  }
  std::vector<BFloat16> band(static_cast<size_t>(tiles * kTilePair));
  kMicroBF16Scalar.along(values.data(), depth, kBandLines, depth, side, band.data());
  return band;
}

struct Coded {
  std::vector<int8_t> tiles;
  std::vector<float> scales;
  Codes codes() { return {tiles.data(), scales.data()}; }
};
Coded coded(const MicroCodes& kernels, const std::vector<BFloat16>& band, int64_t tiles,
            Side side) {
  Coded made{std::vector<int8_t>(static_cast<size_t>((tiles + 1) / 2 * kCodesPair), 99),
             std::vector<float>(kBandLines)};
  kernels.code(band.data(), tiles, side, made.codes());
  return made;
}

std::vector<float> product_of(const MicroCodes& kernels, Coded a, Coded b, int64_t tiles,
                              int64_t rows, int64_t cols, bool accumulate) {
  std::vector<float> c(40 * 32, 0.5f);
  const TileScope scope;
  kernels.multiply({rows, cols, (tiles + 1) / 2, a.codes(), b.codes(), c.data(), 40, accumulate});
  return c;
}

// What the CPU has gives the bits of the reference, also for numbers that have no codes.
TEST(MicroCodes, AreThoseOfTheReference) {
  for (const int64_t tiles : {1, 2, 7, 18}) {
    std::vector<BFloat16> left = band_of(tiles, Side::kA, 1), right = band_of(tiles, Side::kB, 2);
    left[5] = to_bfloat16(std::numeric_limits<float>::infinity());
    right[70] = to_bfloat16(std::numeric_limits<float>::quiet_NaN());
    for (size_t k = 0; k < kTileDepth; ++k) left[3 * kTileDepth + k] = BFloat16{};
    const Coded a = coded(micro_codes(), left, tiles, Side::kA);
    const Coded b = coded(micro_codes(), right, tiles, Side::kB);
    const Coded a_plain = coded(kMicroCodesScalar, left, tiles, Side::kA);
    const Coded b_plain = coded(kMicroCodesScalar, right, tiles, Side::kB);
    EXPECT_EQ(a.tiles, a_plain.tiles);
    EXPECT_EQ(b.tiles, b_plain.tiles);
    for (const auto& [rows, cols] : {std::pair{32, 32}, {32, 9}, {5, 32}, {17, 20}}) {
      for (const bool accumulate : {false, true}) {
        const auto got = product_of(micro_codes(), a, b, tiles, rows, cols, accumulate);
        const auto want =
            product_of(kMicroCodesScalar, a_plain, b_plain, tiles, rows, cols, accumulate);
        for (size_t i = 0; i < want.size(); ++i) {
          if (std::isnan(want[i])) {
            ASSERT_TRUE(std::isnan(got[i])) << i;
          } else {
            ASSERT_EQ(got[i], want[i]) << i;
          }
        }
      }
    }
  }
}

// A code is off by half a step at most.
TEST(MicroCodes, AreNumbersRounded) {
  constexpr int64_t kTiles = 3;
  const std::vector<BFloat16> band = band_of(kTiles, Side::kA, 3);
  Coded made = coded(micro_codes(), band, kTiles, Side::kA);
  for (int64_t line = 0; line < kBandLines; ++line) {
    float top = 0;
    for (int64_t k = 0; k < kTiles * kTileDepth; ++k) {
      const int64_t half = line / kLines, row = line % kLines;
      const float number = to_float(band[static_cast<size_t>(
          k / kTileDepth * kTilePair + half * kTileSize + row * kTileDepth + k % kTileDepth)]);
      const int8_t code =
          made.tiles[static_cast<size_t>(k / kCodesDepth * kCodesPair + half * kCodesPair / 2 +
                                         row * kCodesDepth + k % kCodesDepth)];
      const float scale = made.scales[static_cast<size_t>(line)];
      ASSERT_NEAR(scale * static_cast<float>(code), number, 0.501f * scale);
      top = std::max(top, std::fabs(number));
    }
    EXPECT_FLOAT_EQ(made.scales[static_cast<size_t>(line)], top / 127);
  }
}

struct CodedSize {
  int64_t m, n, k, spare;
};
// With and without remainders of rows, columns and depth, in one block along k and in two, in one
// panel of columns and in two.
const CodedSize kSizes[] = {
    {40, 70, 100, 0}, {300, 96, 576, 16}, {33, 64, 800, 40}, {64, 1100, 640, 4}};

std::vector<float> run(const CodedSize& s, bool in_codes, bool accumulate) {
  const auto x = normals(s.m * s.k, 1), w = normals(s.k * s.n, 2, 0.1);
  const auto h = normals(s.m * s.spare, 3), thin = normals(s.spare * s.n, 4, 0.1);
  PackedRows rows(s.m, s.k, s.spare);
  rows.pack(x.data(), s.k, 1);
  if (s.spare > 0) rows.set_spare(h.data(), 1);
  const Rows by_row{&w, s.n};
  const RowDecoder decoder{&by_row, copy_row<1>, 1};
  std::vector<float> c(static_cast<size_t>(s.m * s.n), 3.0f);
  const auto multiply =
      in_codes ? multiply_nn_codes : static_cast<decltype(&multiply_nn_codes)>(multiply_nn);
  multiply(rows, s.n, decoder, s.spare > 0 ? thin.data() : nullptr, c.data(), accumulate);
  return c;
}

TEST(CodedPanel, ProductsAreThoseOfBF16ButForTheRounding) {
  for (const CodedSize& s : kSizes) {
    for (const bool accumulate : {false, true}) {
      const double error = off_by(run(s, true, accumulate), run(s, false, accumulate));
      EXPECT_LT(error, 0.014) << s.m << " " << s.n << " " << s.k;
      EXPECT_GT(error, 0.001) << s.m << " " << s.n << " " << s.k;
    }
  }
}

TEST(CodedPanel, BitsDoNotDependOnThreadsOrOtherRows) {
  const int before = thread_count();
  for (const CodedSize& s : kSizes) {
    set_thread_count(1);
    const auto one = run(s, true, false);
    set_thread_count(3);
    EXPECT_EQ(run(s, true, false), one);
    const auto few = run({7, s.n, s.k, s.spare}, true, false);
    EXPECT_TRUE(std::equal(few.begin(), few.end(), one.begin()));
  }
  set_thread_count(before);
}

}  // namespace
}  // namespace moxie::kernels
