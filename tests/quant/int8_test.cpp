#include "quant/int8.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/rng.h"
#include "base/threads.h"
#include "normals.h"
#include "quant/format.h"
#include "quant/weight.h"
#include "tensor/dtype.h"

// Every format that claims int8 products proves them: against a double-precision reference over
// its decoded values, and bit for bit between the scalar, the few-row and the many-row kernels.
namespace moxie::quant {
namespace {

constexpr int kInt8Formats = 8;
constexpr int64_t kCols = 1024;  // four blocks of 256

// Random bytes: every code, scale and minimum occurs, also the ones no encoder writes. Only the f16
// factors are made ordinary numbers.
std::vector<std::byte> random_rows(const QuantFormat& format, int64_t rows, uint64_t seed,
                                   int64_t cols = kCols) {
  Rng rng(seed);
  std::vector<std::byte> bytes(static_cast<size_t>(rows * row_bytes(format, cols)));
  for (auto& byte : bytes) byte = static_cast<std::byte>(rng.below(256));
  const bool is_q6_k = format.gguf_type == 14;
  for (size_t block = 0; block < bytes.size(); block += static_cast<size_t>(format.bytes)) {
    const auto put = [&](size_t at) {
      const uint16_t bits = to_float16(static_cast<float>(rng.normal())).bits;
      std::memcpy(bytes.data() + block + at, &bits, 2);
    };
    put(is_q6_k ? 208 : 0);
    if (!is_q6_k && format.bytes % 4 == 0) put(2);  // those with a minimum
  }
  return bytes;
}

struct Quantised {
  Quantised(const std::vector<float>& x, int64_t count, bool is_scalar, int64_t cols = kCols) {
    const auto groups = static_cast<size_t>(count * (cols / kInt8Group));
    codes.resize(groups * kInt8Group);
    scales.resize(groups);
    sums.resize(groups);
    halves.resize(groups);
    rows = {count, cols, codes.data(), scales.data(), sums.data(), halves.data()};
    (is_scalar ? quantise_rows_scalar : quantise_rows)(x.data(), rows, 0, count);
  }
  std::vector<int8_t> codes;
  std::vector<float> scales, sums;
  std::vector<int32_t> halves;
  Int8Rows rows;
};

using Kernel = void (*)(const Int8Product&, int64_t, int64_t);

std::vector<float> run(Kernel kernel, const QuantFormat& format, const std::vector<std::byte>& w,
                       const Int8Rows& x, bool accumulate) {
  const int64_t stride = row_bytes(format, x.cols);
  const int64_t rows = static_cast<int64_t>(w.size()) / stride;
  std::vector<float> y(static_cast<size_t>(x.count * rows), 0.5f);
  kernel({w.data(), stride, x, y.data(), rows, accumulate}, 0, rows);
  return y;
}

TEST(Int8, KernelsAgreeBitForBitAndWithTheDoubleReference) {
  int seen = 0;
  for (const auto& format : formats()) {
    if (format->int8 == nullptr) continue;
    ++seen;
    const Int8Kernels& kernels = *format->int8;
    for (const int64_t rows : {1, 4, 13, 29}) {  // odd strips too
      const auto w = random_rows(*format.entry, rows, 5);
      std::vector<float> decoded(static_cast<size_t>(rows * kCols));
      format->decode(w.data(), decoded.data(), rows * kCols);
      for (const int64_t n : {1, 2, 3, 7, 21}) {
        const auto values = normals(n * kCols, 6);
        const Quantised x(values, n, true);
        const auto y = run(kernels.dots_scalar, *format.entry, w, x.rows, true);
        EXPECT_EQ(y, run(kernels.dots, *format.entry, w, x.rows, true)) << format.name << ' ' << n;
        EXPECT_EQ(y, run(kernels.panels, *format.entry, w, x.rows, true))
            << format.name << ' ' << n;
        for (int64_t i = 0; i < n; ++i) {
          for (int64_t r = 0; r < rows; ++r) {
            double sum = 0.5, size = 0.5;
            for (int64_t c = 0; c < kCols; ++c) {
              const auto at = static_cast<size_t>(i * kCols + c);
              const double q = double{x.scales[at / kInt8Group]} * x.codes[at];
              const double term = q * double{decoded[static_cast<size_t>(r * kCols + c)]};
              sum += term;
              size += std::fabs(term);
            }
            EXPECT_NEAR(y[static_cast<size_t>(i * rows + r)], sum, 1e-6 * size) << format.name;
          }
        }
      }
    }
  }
  EXPECT_EQ(seen, kInt8Formats);
}

// Tiles of codes as they stand: the CPU's own way gives the plain way's bytes, and the numbers are
// the decoded ones.
TEST(Int8, TilesHoldTheCodes) {
  int seen = 0;
  for (const auto& format : formats()) {
    if (format->int8 == nullptr || format->int8->pack == nullptr) continue;
    ++seen;
    for (const int64_t lines : {16, 5}) {
      const auto w = random_rows(*format.entry, lines, 11);
      const int64_t stride = row_bytes(*format.entry, kCols);
      const int64_t begin = 8, end = kCols / kInt8Group;
      const auto pack = [&](PackTiles with) {
        std::vector<kernels::Int8TileB> tiles(size_t(2 * (end - begin)));
        with(w.data(), stride, lines, begin, end, tiles.data());
        return tiles;
      };
      const auto tiles = pack(format->int8->pack), want = pack(format->int8->pack_scalar);
      EXPECT_EQ(std::memcmp(tiles.data(), want.data(), tiles.size() * sizeof(tiles[0])), 0)
          << format.name;
      std::vector<float> decoded(kCols);
      for (int64_t line = 0; line < lines; ++line) {
        format->decode(w.data() + line * stride, decoded.data(), kCols);
        for (int64_t c = begin * kInt8Group; c < kCols; ++c) {
          const auto& tile = tiles[size_t(2 * (c / kInt8Group - begin))];
          const auto at = c % kInt8Group;
          const float code = static_cast<float>(tile.codes[at / 4][line][at % 4]) - 128;
          const float minimum = tile.has_minima != 0 ? tile.minima[line] : 0;
          ASSERT_NEAR(tile.scales[line] * code + minimum, decoded[size_t(c)],
                      1e-5 * (std::fabs(tile.scales[line] * code) + std::fabs(minimum)))
              << format.name;
        }
      }
    }
  }
  EXPECT_EQ(seen, kInt8Formats - 1);  // q6_k has a scale for each 16
}

// The smallest and the largest codes meet the largest activations: sums of 16 bits at their limits.
TEST(Int8, SumsHoldTheirExtremes) {
  constexpr int64_t kX = 4;
  std::vector<float> values(kX * kCols, 1.0f);
  for (int64_t c = 0; c < kCols; ++c) {
    values[static_cast<size_t>(kCols + c)] = -1.0f;
    values[static_cast<size_t>(2 * kCols + c)] = c % 2 == 0 ? 1.0f : -1.0f;
    values[static_cast<size_t>(3 * kCols + c)] = c % 32 < 16 ? 1.0f : -1.0f;
  }
  const Quantised x(values, kX, true);
  for (const auto& format : formats()) {
    if (format->int8 == nullptr) continue;
    const auto scales = random_rows(*format.entry, 16, 7);
    for (const int fill : {0x00, 0xFF, 0x0F, 0x80, 0x7F}) {
      auto w = scales;
      const bool is_q6_k = format->gguf_type == 14;
      for (size_t i = 0; i < w.size(); ++i) {
        const size_t at = i % static_cast<size_t>(format->bytes);
        const bool is_factor = is_q6_k ? at >= 208 : at < (format->bytes % 4 == 0 ? 4 : 2);
        if (!is_factor) w[i] = static_cast<std::byte>(fill);
      }
      const Int8Kernels& kernels = *format->int8;
      const auto y = run(kernels.dots_scalar, *format.entry, w, x.rows, false);
      EXPECT_EQ(y, run(kernels.dots, *format.entry, w, x.rows, false)) << format.name << fill;
      EXPECT_EQ(y, run(kernels.panels, *format.entry, w, x.rows, false)) << format.name << fill;
    }
  }
}

TEST(Int8, PanelsTakeAnyNumberOfRows) {
  const auto& format = require_row(formats(), "format", "q5_0");
  const auto w = random_rows(*format.entry, 19, 8);
  const auto values = normals(517 * kCols, 9);  // twice as many as are prepared at once, and some
  const Quantised x(values, 517, false);
  EXPECT_EQ(run(format->int8->dots, *format.entry, w, x.rows, true),
            run(format->int8->panels, *format.entry, w, x.rows, true));
}

TEST(Int8, PanelsTakeAnyNumberOfGroups) {
  for (const char* name : {"q4_1", "q8_0"}) {
    const auto& format = require_row(formats(), "format", name);
    for (const int64_t cols : {32, 96, 800, 1536}) {
      const auto w = random_rows(*format.entry, 37, 8, cols);
      const Quantised x(normals(20 * cols, 9), 20, false, cols);
      EXPECT_EQ(run(format->int8->dots_scalar, *format.entry, w, x.rows, true),
                run(format->int8->panels, *format.entry, w, x.rows, true))
          << name << ' ' << cols;
    }
  }
}

TEST(Int8, RoundingIsTheSameOnEveryPathAndWithinHalfAStep) {
  auto values = normals(3 * kCols, 2);
  for (size_t i = 0; i < values.size(); ++i) values[i] *= std::exp2f(float(i / 32 % 40) - 20);
  std::fill_n(values.begin(), 32, 0.0f);
  const Quantised fast(values, 3, false), plain(values, 3, true);
  EXPECT_EQ(fast.codes, plain.codes);
  EXPECT_EQ(fast.scales, plain.scales);
  EXPECT_EQ(fast.sums, plain.sums);
  EXPECT_EQ(fast.halves, plain.halves);
  for (size_t i = 0; i < values.size(); ++i) {
    const double step = plain.scales[i / kInt8Group];
    EXPECT_NEAR(step * plain.codes[i], values[i], 0.5001 * step) << i;
    EXPECT_LE(std::abs(plain.codes[i]), 127);
  }
}

TEST(Int8, WhatIsNotANumberStaysOneAndTinyBecomesZero) {
  std::vector<float> values(kCols, 1.0f);
  values[5] = std::numeric_limits<float>::quiet_NaN();
  values[40] = -std::numeric_limits<float>::infinity();
  std::fill_n(values.begin() + 64, 32, 1e-40f);
  for (const bool is_scalar : {false, true}) {
    const Quantised x(values, 1, is_scalar);
    EXPECT_TRUE(std::isnan(x.scales[0]) && std::isnan(x.scales[1]));
    EXPECT_EQ(x.codes[5], 0);
    EXPECT_EQ(x.scales[2], 0.0f);
    EXPECT_EQ(x.codes[70], 0);
    EXPECT_EQ(x.codes[100], 127);
  }
}

// Weight::matmul under int8: threads, the number of rows and slices leave every bit as it is.
TEST(Int8, ProductsDoNotDependOnThreadsRowsOrSlices) {
  const int before = thread_count();
  int seen = 0;
  for (const auto& format : formats()) {
    if (format->int8 == nullptr) continue;
    ++seen;
    const int64_t rows = 91, n = 9;
    const auto bytes =
        std::make_shared<std::vector<std::byte>>(random_rows(*format.entry, rows, 3));
    Weight w(format, rows, kCols, bytes->data(), bytes);
    w.set_compute(Compute::kInt8);
    const auto x = normals(n * kCols, 4);
    std::vector<float> y(static_cast<size_t>(n * rows));
    set_thread_count(1);
    w.matmul(x.data(), n, y.data());
    for (const int threads : {2, 4}) {
      set_thread_count(threads);
      std::vector<float> again(y.size());
      w.matmul(x.data(), n, again.data());
      EXPECT_EQ(y, again) << format.name << ", " << threads << " threads";
      std::vector<float> one(static_cast<size_t>(rows));
      w.matmul(x.data() + 4 * kCols, 1, one.data());
      EXPECT_TRUE(std::equal(one.begin(), one.end(), y.begin() + 4 * rows)) << format.name;
    }
    std::vector<float> part(20);
    w.slice_rows(30, 50).matmul(x.data(), 1, part.data());
    EXPECT_TRUE(std::equal(part.begin(), part.end(), y.begin() + 30)) << format.name;
  }
  set_thread_count(before);
  EXPECT_EQ(seen, kInt8Formats);
}

TEST(Int8, SeveralWeightsTogetherHaveTheBitsOfEachAlone) {
  std::vector<Weight> weights;
  for (const char* name : {"q4_1", "bf16", "q6_k", "q8_0"}) {
    const auto& format = require_row(formats(), "format", name);
    const int64_t rows = 7 + 20 * std::ssize(weights);
    auto bytes = std::make_shared<std::vector<std::byte>>(
        static_cast<size_t>(rows * row_bytes(*format.entry, kCols)));
    format->encode(normals(rows * kCols, 1).data(), bytes->data(), rows * kCols);
    weights.emplace_back(format, rows, kCols, bytes->data(), bytes).set_compute(Compute::kInt8);
  }
  for (const int64_t n : {1, 3, 4, 8}) {
    const auto x = normals(n * kCols, 2);
    std::vector<std::vector<float>> alone, together;
    std::vector<Weight::Product> products;
    for (const Weight& w : weights) {
      alone.emplace_back(static_cast<size_t>(n * w.rows()));
      together.emplace_back(alone.back().size());
      w.matmul(x.data(), n, alone.back().data());
    }
    for (size_t i = 0; i < weights.size(); ++i)
      products.push_back({weights[i], together[i].data()});
    Weight::matmul_together(products, x.data(), n);
    EXPECT_EQ(alone, together);
  }
}

// Gradients of 7 bits, or 12 where they are to be fine, other formats' products of 12.
TEST(Int8, GradientsAndOtherFormatsAreOfIntegersWhereThoseAreFaster) {
  const int64_t n = 7;
  for (const char* name : {"q4_1", "bf16"}) {
    const auto& format = require_row(formats(), "format", name);
    auto bytes = std::make_shared<std::vector<std::byte>>(
        static_cast<size_t>(8 * row_bytes(*format.entry, kCols)));
    format->encode(normals(8 * kCols, 1).data(), bytes->data(), 8 * kCols);
    Weight exact(format, 8, kCols, bytes->data(), bytes);
    Weight rounded = exact;
    Weight mixed = exact;
    rounded.set_compute(Compute::kInt16);
    mixed.set_compute(Compute::kInt8);
    const auto dy = normals(n * 8, 2), x = normals(n * kCols, 3);
    std::vector<float> a(n * kCols), b(a), c(a), y(n * 8), z(y);
    exact.matmul_transposed(dy.data(), n, a.data());
    rounded.matmul_transposed(dy.data(), n, b.data());
    mixed.matmul_transposed(dy.data(), n, c.data());
    const auto distance = [&](const std::vector<float>& other) {
      double off = 0, all = 0;
      for (size_t i = 0; i < a.size(); ++i) {
        off += (a[i] - other[i]) * (a[i] - other[i]);
        all += a[i] * a[i];
      }
      return std::sqrt(off / all);
    };
    EXPECT_GT(distance(b), 0) << name << ": nothing was rounded";
    EXPECT_LT(distance(b), 1e-3) << name;
    EXPECT_EQ(distance(c) > 1e-3, kernels::int16_is_faster()) << name;
    EXPECT_LT(distance(c), 0.02) << name;
    mixed.with_fine_gradients().matmul_transposed(dy.data(), n, c.data());
    EXPECT_EQ(c, kernels::int16_is_faster() ? b : a) << name;
    rounded.matmul(x.data(), n, y.data());
    mixed.matmul(x.data(), n, z.data());
    EXPECT_EQ(y == z, format->int8 == nullptr && kernels::int16_is_faster()) << name;
    y.resize(kernels::kFewRows * 8);
    z.resize(y.size());
    rounded.matmul(x.data(), kernels::kFewRows, y.data());
    exact.matmul(x.data(), kernels::kFewRows, z.data());
    EXPECT_EQ(y, z) << name << ": few rows are not rounded";
  }
}

}  // namespace
}  // namespace moxie::quant
