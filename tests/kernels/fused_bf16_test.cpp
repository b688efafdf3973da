#include "kernels/fused_bf16.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "base/cpu.h"
#include "normals.h"

// What the instruction set of this CPU makes of a block is what the plain reference makes of it,
// to a rounding to bf16.
namespace moxie::kernels {
namespace {

struct alignas(64) TilesOfABlock {  // aligned as tiles are
  BFloat16 numbers[4 * kTilePair] = {};
};

void expect_near(const TilesOfABlock& got, const TilesOfABlock& want, const char* what) {
  for (size_t i = 0; i < std::size(want.numbers); ++i) {
    const float w = to_float(want.numbers[i]);
    ASSERT_NEAR(to_float(got.numbers[i]), w, std::fabs(w) / 120 + 1e-30) << what << ' ' << i;
  }
}

TilesOfABlock rounded(const std::vector<float>& numbers) {
  TilesOfABlock tiles;
  for (size_t i = 0; i < numbers.size(); ++i) tiles.numbers[i] = to_bfloat16(numbers[i]);
  return tiles;
}

class FusedBF16Test : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_bf16_tiles()) GTEST_SKIP() << "this CPU has the plain reference alone";
  }
  const FusedTiles& fast = fused(Tiles::kBF16);
  const FusedTiles& plain = kFusedBF16Scalar;
  const FusedAttention& fast_attention = fused_attention();
  const FusedAttention& plain_attention = kFusedAttentionScalar;
};

TEST_F(FusedBF16Test, Gates) {
  auto g = normals(kBlockNumbers, 1, 8);
  const auto u = normals(kBlockNumbers, 2), dy = normals(kBlockNumbers, 3);
  g[0] = 500;
  g[1] = -500;
  for (const auto kind : {Activation::kSilu, Activation::kGeluTanh, Activation::kGelu}) {
    TilesOfABlock y[2], kept_g[2], kept_u[2];
    int place = 0;
    for (const FusedTiles* table : {&fast, &plain}) {
      table->gate(kind, g.data(), u.data(), y[place].numbers, kept_g[place].numbers,
                  kept_u[place].numbers);
      table->settle();
      ++place;
    }
    expect_near(y[0], y[1], "gate");
    expect_near(kept_g[0], kept_g[1], "g");
    expect_near(kept_u[0], kept_u[1], "u");
    TilesOfABlock dg[2] = {rounded(g), rounded(g)}, du[2] = {rounded(u), rounded(u)};
    TilesOfABlock again[2];
    const FusedTiles* tables[2] = {&fast, &plain};
    for (place = 0; place < 2; ++place) {
      BFloat16 *to_g = dg[place].numbers, *to_u = du[place].numbers;
      tables[place]->gate_backward(kind, dy.data(), to_g, to_u, to_g, to_u, again[place].numbers);
    }
    for (int64_t i = 0; i < kBlockNumbers; ++i) {  // a slope is a difference: exact to 1e-5 of dy u
      const float size = std::fabs(dy[size_t(i)] * u[size_t(i)]);
      const float want = to_float(dg[1].numbers[i]);
      ASSERT_NEAR(to_float(dg[0].numbers[i]), want, std::fabs(want) / 120 + 1e-4f * size);
    }
    expect_near(du[0], du[1], "du");
    expect_near(again[0], again[1], "y again");
  }
}

TEST_F(FusedBF16Test, NotANumberStaysOne) {
  std::vector<float> g(kBlockNumbers, 1.0f);
  g[5] = std::numeric_limits<float>::quiet_NaN();
  TilesOfABlock y;
  fast.gate(Activation::kSilu, g.data(), g.data(), y.numbers, nullptr, nullptr);
  EXPECT_TRUE(std::isnan(to_float(y.numbers[5])));
  EXPECT_FALSE(std::isnan(to_float(y.numbers[6])));
  std::vector<float> most(32, -INFINITY), total(32), shrink(32);
  fast_attention.soften(g.data(), 32, 32, 32, most.data(), total.data(), shrink.data(), y.numbers);
  EXPECT_TRUE(std::isnan(total[0]));
  EXPECT_FALSE(std::isnan(total[1]));
}

TEST_F(FusedBF16Test, ExponentialsAreThoseOfTheSoftmax) {
  const auto first = normals(kBlockNumbers, 4, 3), second = normals(kBlockNumbers, 5, 40);
  for (const int64_t cols : {32, 17, 16, 3}) {
    double sums[2][kBandLines] = {};
    TilesOfABlock w[2];
    int place = 0;
    for (const FusedTiles* table : {&fast, &plain}) {
      std::vector<float> most(kBandLines, -INFINITY), total(kBandLines * 16), relative(kBandLines);
      for (const auto* scores : {&first, &second}) {
        table->exponentials(scores->data(), cols, 0.5f, {most.data(), total.data()},
                            relative.data(), w[place].numbers);
      }
      // Each is free to choose what it is relative to.
      std::vector<float> factors(kBandLines);
      for (int64_t r = 0; r < kBandLines; ++r) {
        EXPECT_EQ(relative[size_t(r)], most[size_t(r)]);
        for (int lane = 0; lane < 16; ++lane) sums[place][r] += total[size_t(16 * r + lane)];
        sums[place][r] = std::log(sums[place][r]) + most[size_t(r)];
        factors[size_t(r)] = static_cast<float>(std::exp(most[size_t(r)] - sums[place][r]));
      }
      table->scale_rows(factors.data(), w[place].numbers);
      ++place;
    }
    for (int64_t r = 0; r < kBandLines; ++r) {
      EXPECT_NEAR(sums[0][r], sums[1][r], 1e-5 * (1 + std::fabs(sums[1][r]))) << cols << ' ' << r;
    }
    for (int64_t i = 0; i < kBlockNumbers; ++i) {
      const float want = to_float(w[1].numbers[i]);
      ASSERT_NEAR(to_float(w[0].numbers[i]), want, want / 60 + 1e-12) << cols << ' ' << i;
    }
  }
}

TEST_F(FusedBF16Test, Softens) {
  auto scores = normals(kBandLines * 128, 6, 5);
  std::fill_n(scores.begin() + 128, 100, -INFINITY);  // a row that sees few keys
  std::fill_n(scores.begin() + 256, 128, -INFINITY);  // and one that sees none
  const auto before = normals(kBandLines, 7);
  for (const int64_t rows : {32, 5}) {
    TilesOfABlock w[2];
    std::vector<float> most[2] = {before, before}, total[2], shrink[2];
    int place = 0;
    for (const FusedAttention* table : {&fast_attention, &plain_attention}) {
      most[place][2] = -INFINITY;
      total[place].assign(kBandLines, 1.0f);
      shrink[place].assign(kBandLines, 0.0f);
      table->soften(scores.data(), 128, rows, 128, most[place].data(), total[place].data(),
                    shrink[place].data(), w[place].numbers);
      ++place;
    }
    expect_near(w[0], w[1], "weights");
    for (size_t r = 0; r < size_t(rows); ++r) {
      EXPECT_EQ(most[0][r], most[1][r]);
      EXPECT_NEAR(total[0][r], total[1][r], 2e-5 * total[1][r]);
      EXPECT_NEAR(shrink[0][r], shrink[1][r], 2e-5 * shrink[1][r]);
    }
  }
}

struct Gradients {
  TilesOfABlock ds, p_down, ds_down;
};
// Of `rows` queries and n keys, from this CPU's table and from the plain one.
std::array<Gradients, 2> gradients_of(Tiles kind, int64_t rows, int64_t n) {
  const auto s = normals(kBandLines * n, 8, 2), dp = normals(kBandLines * n, 9);
  const auto lse = normals(kBandLines, 10), delta = normals(kBandLines, 11);
  int64_t begin[kBandLines], end[kBandLines];
  for (int64_t r = 0; r < kBandLines; ++r) {
    begin[r] = 5 + r % 3 * 20;
    end[r] = r == 4 ? begin[r] : 5 + n - 5 * (r % 7);
  }
  std::array<Gradients, 2> result;
  int place = 0;
  const FusedTiles& plain = kind == Tiles::kBF16 ? kFusedBF16Scalar : kFusedInt8Scalar;
  for (const FusedTiles* table : {&fused(kind), &plain}) {
    Gradients& to = result[size_t(place++)];
    table->score_gradients(
        {s.data(), dp.data(), n, rows, n, 5, lse.data(), delta.data(), begin, end},
        {to.ds.numbers, to.p_down.numbers, to.ds_down.numbers, pair_size(kind)});
  }
  return result;
}

TEST_F(FusedBF16Test, ScoreGradients) {
  for (const int64_t rows : {32, 31, 6}) {
    const auto [got, want] = gradients_of(Tiles::kBF16, rows, 128);
    expect_near(got.ds, want.ds, "ds");
    expect_near(got.p_down, want.p_down, "p down");
    expect_near(got.ds_down, want.ds_down, "ds down");
  }
}

// Lines of a band of 8-bit tiles as numbers, [32, 32 depth].
std::vector<float> numbers_of(const TilesOfABlock& tiles, int64_t depth, Side side) {
  std::vector<float> out(size_t(kBandLines * 32 * depth));
  for (int64_t line = 0; line < kBandLines; ++line) {
    for (int64_t k = 0; k < 32 * depth; ++k) {
      const int64_t index = k / 32 * 2 + line / kLines, i = line % kLines;
      const BFloat16* at = tiles.numbers + index * tile_size(Tiles::kInt8);
      const auto& a = *reinterpret_cast<const Int8TileA*>(at);
      const auto& b = *reinterpret_cast<const Int8TileB*>(at);
      out[size_t(line * 32 * depth + k)] =
          side == Side::kA ? a.scales[i] * float(a.codes[i][k % 32])
                           : b.scales[i] * float(b.codes[k % 32 / 4][i][k % 4] - 128);
    }
  }
  return out;
}

// Off by at most a step and a half of the 32 numbers that share it.
void expect_near8(const TilesOfABlock& got, const TilesOfABlock& want, int64_t depth, Side side,
                  const char* what) {
  const auto g = numbers_of(got, depth, side), w = numbers_of(want, depth, side);
  for (size_t i = 0; i < w.size(); i += 32) {
    float most = 0;
    for (size_t k = i; k < i + 32; ++k) most = std::max(most, std::fabs(w[k]));
    for (size_t k = i; k < i + 32; ++k)
      ASSERT_NEAR(g[k], w[k], most * 1.5f / 127 + 1e-30f) << what << ' ' << k;
  }
}

TEST_F(FusedBF16Test, ScoreGradientsIn8Bits) {
  if (!cpu().avx512_vnni) GTEST_SKIP() << "this CPU has the plain reference alone";
  for (const int64_t rows : {32, 31, 6}) {
    const auto [got, want] = gradients_of(Tiles::kInt8, rows, 96);
    expect_near8(got.ds, want.ds, 3, Side::kA, "ds");
    expect_near8(got.p_down, want.p_down, 3, Side::kB, "p down");
    expect_near8(got.ds_down, want.ds_down, 3, Side::kB, "ds down");
  }
}

TEST_F(FusedBF16Test, Transposes) {
  const auto from = normals(70 * 50, 12);
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{50, 70}, {16, 16}, {3, 21}}) {
    std::vector<float> got(size_t(rows * cols)), want(got.size());
    fast_attention.transpose(from.data(), 50, rows, cols, got.data());
    plain_attention.transpose(from.data(), 50, rows, cols, want.data());
    EXPECT_EQ(got, want);
    EXPECT_EQ(want[size_t(cols)], from[1]);  // row 1 begins with what follows in the first line
  }
}

}  // namespace
}  // namespace moxie::kernels
