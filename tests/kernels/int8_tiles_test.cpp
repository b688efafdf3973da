#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/cpu.h"
#include "kernels/fused_bf16.h"
#include "kernels/micro_tiles.h"
#include "kernels/packed_rows.h"
#include "kernels/products.h"
#include "normals.h"

// Tiles of 8-bit integers: the CPU's own kernels against the plain ones, bit for bit, and these
// against products of rounded numbers.
namespace moxie::kernels {
namespace {

std::vector<float> troubled(int64_t count) {  // with no numbers, infinities and tiny ones
  auto values = normals(count, 1);
  values[3] = std::numeric_limits<float>::quiet_NaN();
  values[700] = std::numeric_limits<float>::infinity();
  for (size_t i = 1000; i < 1100; ++i) values[i] = 0;
  for (size_t i = 1100; i < 1200; ++i) values[i] *= 1e-38f;
  return values;
}

TEST(Int8Tiles, EveryInstructionSetPacksAlike) {
  const auto src = troubled(40 * 300);
  std::vector<BFloat16> src16;
  for (const float x : src) src16.push_back(to_bfloat16(x));
  for (const int64_t lines : {1, 15, 16, 17, 32}) {
    for (const int64_t k : {1, 32, 71, 128, 160, 300}) {
      for (const Side side : {Side::kA, Side::kB, Side::kWideA}) {
        const auto size = static_cast<size_t>((k + 31) / 32 * kTilePair);
        const auto pack = [&](const MicroTiles& with, int way) {
          std::vector<BFloat16> band(size);
          if (way == 0) with.along(src.data(), 300, lines, k, side, band.data());
          if (way == 1) with.across(src.data(), 40, lines, k, side, band.data());
          if (way == 2) with.along_bf16(src16.data(), 300, lines, k, side, band.data());
          if (way == 3) with.across_bf16(src16.data(), 40, lines, k, side, band.data());
          return band;
        };
        for (int way = 0; way < 4; ++way) {
          const auto got = pack(micro_int8(), way), want = pack(kMicroInt8Scalar, way);
          EXPECT_EQ(std::memcmp(got.data(), want.data(), size * 2), 0)
              << lines << " lines of " << k << ", way " << way << ", side " << int(side);
        }
      }
    }
  }
}

void expect_multiplies_alike(Tiles kind, const MicroTiles& plain) {
  const int64_t k = 300, tiles = 10;
  const auto a = normals(32 * k, 12), b = normals(32 * k, 13), start = normals(32 * 40, 14);
  std::vector<BFloat16> pa(tiles * kTilePair), pb(pa);
  plain.along(a.data(), k, 32, k, left_side(kind), pa.data());
  plain.along(b.data(), k, 32, k, Side::kB, pb.data());
  for (const int rows : {1, 4, 16, 17, 31, 32}) {
    for (const int cols : {1, 16, 20, 32}) {
      for (const float alpha : {1.0f, 0.3f}) {
        for (const bool accumulate : {false, true}) {
          auto got = start, want = start;
          TileBlock block{rows,        cols, tiles, pa.data(), pb.data(),
                          want.data(), 40,   alpha, accumulate};
          plain.multiply(block);
          block.c = got.data();
          micro_tiles(kind).multiply(block);
          EXPECT_EQ(got, want) << rows << 'x' << cols;
        }
      }
    }
  }
}

TEST(Int8Tiles, EveryInstructionSetMultipliesAlike) {
  expect_multiplies_alike(Tiles::kInt8, kMicroInt8Scalar);
  expect_multiplies_alike(Tiles::kInt8Wide, kMicroInt8WideScalar);
}

TEST(Int8Tiles, EveryInstructionSetTurnsAlike) {
  const auto a = normals(32 * 32, 15);
  std::vector<BFloat16> packed(kTilePair), got(kTilePair), want(kTilePair), rounded(kTilePair);
  kMicroInt8Scalar.along(a.data(), 32, 32, 32, Side::kA, packed.data());
  micro_int8().turn(packed.data(), got.data());
  kMicroInt8Scalar.turn(packed.data(), want.data());
  EXPECT_EQ(std::memcmp(got.data(), want.data(), kTilePair * 2), 0);
  kMicroBF16Scalar.along(a.data(), 32, 32, 32, Side::kA, rounded.data());
  kMicroBF16Scalar.turn(rounded.data(), want.data());
  for (size_t i = 0; i < want.size(); ++i)
    ASSERT_NEAR(to_float(got[i]), to_float(want[i]), 0.03) << i;
}

// Numbers of blocks of `block` along a line, as their codes give them back.
std::vector<double> rounded(const std::vector<float>& values, int64_t lines, int64_t k, bool across,
                            int64_t block) {
  std::vector<double> result(values.size());
  for (int64_t i = 0; i < lines; ++i) {
    const auto at = [&](int64_t p) { return size_t(across ? p * lines + i : i * k + p); };
    for (int64_t p = 0; p < k; p += block) {
      float most = 0;
      for (int64_t q = p; q < std::min(k, p + block); ++q)
        most = std::max(most, std::fabs(values[at(q)]));
      for (int64_t q = p; q < std::min(k, p + block); ++q) {
        const double code = std::nearbyint(values[at(q)] * (127.0f / most));
        result[at(q)] = most == 0 ? 0 : code * double(most / 127.0f);
      }
    }
  }
  return result;
}

// The last in several blocks along k, which end within 128 numbers.
const ThinSize kSizes[] = {
    {5, 33, 40, 3}, {37, 70, 96, 16}, {48, 32, 64, 40}, {300, 130, 576, 16}, {33, 40, 1000, 150}};

int64_t block_of_a(Tiles kind) {
  return kind == Tiles::kInt8Wide ? kInt8Block : kTileDepth;
}

void expect_products_of_rounded_factors(Tiles kind) {
  for (const ThinSize& s : kSizes) {
    const auto a = normals(s.m * s.k, 1), w = normals(s.n * s.k, 2), h = normals(s.m * s.r, 3);
    const auto thin = normals(s.n * s.r, 4);
    const PackedRows rows = packed(a, s, h, 1, kind);
    const auto ra = rounded(a, s.m, s.k, false, block_of_a(kind));
    const auto rh = rounded(h, s.m, s.r, false, block_of_a(kind));
    for (const bool across : {false, true}) {
      const auto rw = rounded(w, s.n, s.k, across, kInt8Block);
      const auto rt = rounded(thin, s.n, s.r, across, kInt8Block);
      const Rows by_row{&w, across ? s.n : s.k};
      const RowDecoder decoder{&by_row, copy_row<1>, 1};
      std::vector<float> c(size_t(s.m * s.n), 1.0f);
      if (across) {
        multiply_nn(rows, s.n, decoder, thin.data(), c.data(), true);
      } else {
        multiply_nt(rows, s.n, decoder, thin.data(), c.data(), true);
      }
      for (int64_t i = 0; i < s.m; ++i) {
        for (int64_t j = 0; j < s.n; ++j) {
          double want = 1, size = 1;
          const auto add = [&](double x, double y) {
            want += x * y;
            size += std::fabs(x * y);
          };
          for (int64_t p = 0; p < s.k; ++p)
            add(ra[size_t(i * s.k + p)], rw[size_t(across ? p * s.n + j : j * s.k + p)]);
          for (int64_t q = 0; q < s.r; ++q)
            add(rh[size_t(i * s.r + q)], rt[size_t(across ? q * s.n + j : j * s.r + q)]);
          ASSERT_NEAR(c[size_t(i * s.n + j)], want, 1e-6 * size) << s.m << " rows " << across;
        }
      }
    }
  }
}

TEST(Int8Tiles, ProductsAreThoseOfTheRoundedFactors) {
  expect_products_of_rounded_factors(Tiles::kInt8);
  expect_products_of_rounded_factors(Tiles::kInt8Wide);
}

TEST(Int8Tiles, AreWithinAPercentOfTheProduct) {
  const int64_t m = 64, n = 48, k = 1536;  // several blocks along k
  const auto a = normals(m * k, 5), w = normals(n * k, 6);
  PackedRows rows(m, k, 0, Tiles::kInt8);
  rows.pack(a.data(), k, 1);
  std::vector<float> c(size_t(m * n));
  multiply_nt(rows, n, w.data(), c.data());
  double error = 0, size = 0;
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double want = 0;
      for (int64_t p = 0; p < k; ++p) want += double(a[size_t(i * k + p)]) * w[size_t(j * k + p)];
      error += std::pow(c[size_t(i * n + j)] - want, 2);
      size += want * want;
    }
  }
  EXPECT_LT(std::sqrt(error / size), 0.01);
  EXPECT_GT(std::sqrt(error / size), 0.001);  // they are rounded
}

void expect_spoils_its_row_and_column(Tiles kind) {
  const int64_t m = 40, n = 40, k = 500;
  auto a = normals(m * k, 7), w = normals(n * k, 8);
  const auto product = [&] {
    PackedRows rows(m, k, 0, kind);
    rows.pack(a.data(), k, 1);
    std::vector<float> c(size_t(m * n));
    multiply_nt(rows, n, w.data(), c.data());
    return c;
  };
  const auto whole = product();
  a[2 * k + 450] = std::numeric_limits<float>::quiet_NaN();
  w[20 * k + 3] = std::numeric_limits<float>::infinity();
  const auto c = product();
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      const auto at = static_cast<size_t>(i * n + j);
      if (i == 2 || j == 20) {
        EXPECT_TRUE(std::isnan(c[at]));
      } else {
        EXPECT_EQ(c[at], whole[at]);
      }
    }
  }
}

TEST(Int8Tiles, NumbersOutOfRangeSpoilTheirOwnRowsAndColumnsOnly) {
  expect_spoils_its_row_and_column(Tiles::kInt8);
  expect_spoils_its_row_and_column(Tiles::kInt8Wide);
}

void expect_transpose_times_rows(Tiles kind) {
  for (const ThinSize& s : kSizes) {
    const auto a = normals(s.m * s.k, 9), h = normals(s.m * s.r, 10);
    const PackedRows rows = packed(a, s, h, 1, kind);
    const auto ra = rounded(a, s.m, s.k, false, block_of_a(kind));
    std::vector<float> c(size_t(s.r * s.k));
    multiply_tn(s.r, h.data(), rows, 2, c.data());
    // FMAs take a code's value of up to 32 rows as it is. Where it rounds to bf16, that may be the
    // other way: it is a product in f32.
    const bool rounds = s.r > kBandLines || !bf16_runs_on_fma();
    const auto value = [&](size_t at) {
      const auto x = static_cast<float>(ra[at]);
      return rounds ? to_float(to_bfloat16(x)) : x;
    };
    expect_transposed_product(s, h, value, c, 1e-3);
  }
}

TEST(Int8Tiles, TheirTransposeTimesThemIsSummedOverRows) {
  expect_transpose_times_rows(Tiles::kInt8);
  expect_transpose_times_rows(Tiles::kInt8Wide);
}

// What a pair of tiles of A holds.
std::vector<float> numbers_of(const BFloat16* tiles) {
  std::vector<float> numbers;
  for (int64_t i = 0; i < kBandLines; ++i) {
    const auto& tile = reinterpret_cast<const Int8TileA*>(tiles)[i / kLines];
    int sum = 0;
    for (const int8_t code : tile.codes[i % kLines]) {
      numbers.push_back(tile.scales[i % kLines] * static_cast<float>(code));
      sum += code;
    }
    EXPECT_EQ(tile.starts[i % kLines], -128 * sum);
  }
  return numbers;
}

// To a step of the codes, and what exponentials are off by.
void expect_near(const std::vector<float>& got, const std::vector<float>& want, const char* what) {
  for (size_t i = 0; i < want.size(); ++i) {
    float most = 0;
    for (size_t j = i / 32 * 32; j < i / 32 * 32 + 32; ++j)
      most = std::max(most, std::fabs(want[j]));
    ASSERT_NEAR(got[i], want[i], most / 120) << what << ' ' << i;
  }
}

struct alignas(64) Pair {
  BFloat16 numbers[kTilePair] = {};
};

TEST(Int8Tiles, EveryInstructionSetMakesThemOfSumsAlike) {
  const auto g = normals(kBlockNumbers, 21, 4), u = normals(kBlockNumbers, 22);
  const auto dy = normals(kBlockNumbers, 23);
  for (const auto kind : {Activation::kSilu, Activation::kGeluTanh, Activation::kGelu}) {
    std::vector<float> y[2], dg[2], du[2];
    int place = 0;
    for (const FusedTiles* table : {&fused(Tiles::kInt8), &kFusedInt8Scalar}) {
      Pair own_y, own_g, own_u, own_dg, own_du;
      table->gate(kind, g.data(), u.data(), own_y.numbers, own_g.numbers, own_u.numbers);
      table->settle();
      y[place] = numbers_of(own_y.numbers);
      table->gate_backward(kind, dy.data(), own_g.numbers, own_u.numbers, own_dg.numbers,
                           own_du.numbers, nullptr);
      dg[place] = numbers_of(own_dg.numbers);
      du[place] = numbers_of(own_du.numbers);
      ++place;
    }
    expect_near(y[0], y[1], "y");
    expect_near(dg[0], dg[1], "dg");
    expect_near(du[0], du[1], "du");
    std::vector<float> want(kBlockNumbers);
    row_kernels<float>().gate(kind, g.data(), u.data(), want.data(), kBlockNumbers);
    expect_near(y[0], want, "y");
  }
}

TEST(Int8Tiles, ExponentialsAreThoseOfTheSoftmax) {
  const auto scores = normals(kBlockNumbers, 24, 3);
  for (const int64_t cols : {32, 17, 3}) {
    for (const FusedTiles* table : {&fused(Tiles::kInt8), &kFusedInt8Scalar}) {
      Pair w;
      std::vector<float> most(kBandLines, -INFINITY), total(kBandLines * 16), relative(kBandLines);
      table->exponentials(scores.data(), cols, 0.5f, {most.data(), total.data()}, relative.data(),
                          w.numbers);
      table->scale_rows(std::vector<float>(kBandLines, 0.25f).data(), w.numbers);
      std::vector<float> want(kBlockNumbers);
      for (int64_t i = 0; i < kBlockNumbers; ++i) {
        const float at = relative[size_t(i / 32)];
        if (i % 32 < cols) want[size_t(i)] = 0.25f * std::exp(0.5f * scores[size_t(i)] - at);
      }
      expect_near(numbers_of(w.numbers), want, "exponential");
    }
  }
}

}  // namespace
}  // namespace moxie::kernels
