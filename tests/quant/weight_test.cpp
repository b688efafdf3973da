#include "quant/weight.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/gemm.h"
#include "kernels/micro_codes.h"
#include "normals.h"
#include "off_by.h"

namespace moxie::quant {
namespace {

Weight encoded(const Named<QuantFormat>& format, int64_t rows, int64_t cols, uint64_t seed) {
  const auto values = normals(rows * cols, seed);
  auto bytes = std::make_shared<std::vector<std::byte>>(
      static_cast<size_t>(rows * row_bytes(*format.entry, cols)));
  for (int64_t r = 0; r < rows; ++r) {
    format->encode(values.data() + r * cols, bytes->data() + r * row_bytes(*format.entry, cols),
                   cols);
  }
  return {format, rows, cols, bytes->data(), bytes};
}

TEST(Weight, ProductsInPartsHaveTheBitsOfTheWhole) {
  const int64_t rows = 100, cols = 256, n = 30;
  const auto x = normals(n * cols, 10);
  int seen = 0;
  for (const char* name : {"q8_0", "q4_1", "q6_k", "bf16"}) {
    Weight w = encoded(*find_row(formats(), name), rows, cols, 11);
    for (const Compute compute : {Compute::kInt8, Compute::kInt16, Compute::kF32}) {
      ++seen;
      w.set_compute(compute);
      std::vector<float> want(static_cast<size_t>(n * rows)), got(want.size());
      w.matmul(x.data(), n, want.data());
      const ProductInParts product(w, x.data(), n);
      for (const int64_t i0 : {0, 13}) {
        const int64_t i1 = i0 == 0 ? 13 : n;
        for (int64_t j0 = 0; j0 < rows; j0 += 32) {
          const int64_t j1 = std::min(rows, j0 + 32);
          std::vector<float> part(static_cast<size_t>((i1 - i0) * (j1 - j0)));
          product.make(i0, i1, j0, j1, part.data());
          for (int64_t i = i0; i < i1; ++i) {
            std::copy_n(part.begin() + (i - i0) * (j1 - j0), j1 - j0, got.begin() + i * rows + j0);
          }
        }
      }
      EXPECT_EQ(got, want) << name;
    }
  }
  EXPECT_EQ(seen, 12);
}

TEST(Weight, ProductsEqualTheDoubleReferenceForEveryWritableFormat) {
  int seen = 0;
  for (const auto& format : formats()) {
    if (!format->is_writable) continue;
    ++seen;
    const int64_t rows = 19, cols = 256;
    const Weight w = encoded(format, rows, cols, 7);
    const Tensor dense = w.decode();
    for (const int64_t n : {1, 3, 7, 20}) {
      const auto x = normals(n * cols, 8);
      std::vector<float> y(static_cast<size_t>(n * rows));
      w.matmul(x.data(), n, y.data());
      const auto dy = normals(n * rows, 9);
      std::vector<float> dx(static_cast<size_t>(n * cols), 1.0f);
      w.matmul_transposed(dy.data(), n, dx.data(), true);
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t r = 0; r < rows; ++r) {
          double sum = 0, size = 0;
          for (int64_t c = 0; c < cols; ++c) {
            const double term = double(x[size_t(i * cols + c)]) * dense.data<float>()[r * cols + c];
            sum += term;
            size += std::fabs(term);
          }
          EXPECT_NEAR(y[size_t(i * rows + r)], sum, 1e-6 * size) << format.name;
        }
        for (int64_t c = 0; c < cols; ++c) {
          double sum = 1, size = 1;
          for (int64_t r = 0; r < rows; ++r) {
            const double term =
                double(dy[size_t(i * rows + r)]) * dense.data<float>()[r * cols + c];
            sum += term;
            size += std::fabs(term);
          }
          EXPECT_NEAR(dx[size_t(i * cols + c)], sum, 1e-6 * size) << format.name;
        }
      }
    }
  }
  EXPECT_GE(seen, 6);
}

// Few rows are multiplied with plain values where they stand, aligned or not, without other bits.
TEST(Weight, FewRowsOfPlainValuesHaveTheBitsOfTheDecodedProduct) {
  const int64_t rows = 37, cols = 203;
  for (const char* name : {"f32", "bf16", "f16"}) {
    const auto& format = require_row(formats(), "format", name);
    const Weight aligned = encoded(format, rows, cols, 21);
    auto moved = std::make_shared<std::vector<std::byte>>(aligned.bytes().size() + 1);
    std::copy(aligned.bytes().begin(), aligned.bytes().end(), moved->begin() + 1);
    const Weight unaligned(format, rows, cols, moved->data() + 1, moved);
    const Tensor dense = aligned.decode();
    for (const int64_t n : {1, 3, 4}) {
      const auto x = normals(n * cols, 22);
      std::vector<float> want(static_cast<size_t>(n * rows)), y(want), z(want);
      kernels::gemm_nt(n, rows, cols, x.data(), dense.data<float>(), want.data());
      aligned.matmul(x.data(), n, y.data());
      unaligned.matmul(x.data(), n, z.data());
      EXPECT_EQ(y, want) << name;
      EXPECT_EQ(z, want) << name;
    }
  }
}

// Plain values of 32 and of 16 bits too are rounded where compute says so, for few rows as for
// many.
TEST(Weight, FewRowsOfPlainValuesAreRoundedUnderBF16) {
  for (const char* name : {"f32", "f16"}) {
    Weight w = encoded(require_row(formats(), "format", name), 9, 64, 23);
    w.set_compute(Compute::kBF16);
    Tensor rounded = w.decode();
    auto x = normals(64, 24);
    std::vector<float> y(9), want(9);
    w.matmul(x.data(), 1, y.data());
    for (int64_t i = 0; i < rounded.count(); ++i)
      rounded.data<float>()[i] = to_float(to_bfloat16(rounded.data<float>()[i]));
    for (float& value : x) value = to_float(to_bfloat16(value));
    kernels::gemm_nt(1, 9, 64, x.data(), rounded.data<float>(), want.data());
    EXPECT_EQ(y, want) << name;
  }
}

// The one meaning of compute bf16, whether the CPU has it or it is emulated.
TEST(Weight, ComputeBF16RoundsBothFactors) {
  Weight w = encoded(require_row(formats(), "format", "q8_0"), 33, 64, 11);
  w.set_compute(Compute::kBF16);
  const Weight slice = w.slice_rows(8, 30);
  const Tensor dense = w.decode();
  const auto rounded = [](float x) { return double(to_float(to_bfloat16(x))); };
  for (const int64_t n : {2, 9}) {
    const auto x = normals(n * 64, 12);
    const auto dy = normals(n * 33, 13);
    std::vector<float> y(size_t(n * 33)), part(size_t(n * 22)), dx(size_t(n * 64));
    w.matmul(x.data(), n, y.data());
    slice.matmul(x.data(), n, part.data());
    w.matmul_transposed(dy.data(), n, dx.data());
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t r = 0; r < 33; ++r) {
        double sum = 0;
        for (int64_t c = 0; c < 64; ++c) {
          sum += rounded(x[size_t(i * 64 + c)]) * rounded(dense.data<float>()[r * 64 + c]);
        }
        EXPECT_NEAR(y[size_t(i * 33 + r)], sum, 2e-5);
        if (r >= 8 && r < 30) {
          EXPECT_NEAR(part[size_t(i * 22 + r - 8)], sum, 2e-5);
        }
      }
      for (int64_t c = 0; c < 64; ++c) {
        double sum = 0;
        for (int64_t r = 0; r < 33; ++r) {
          sum += rounded(dy[size_t(i * 33 + r)]) * rounded(dense.data<float>()[r * 64 + c]);
        }
        EXPECT_NEAR(dx[size_t(i * 64 + c)], sum, 2e-5);
      }
    }
  }
}

// Forward it is bf16; gradients of many rows are off by what codes round, where AMX has them.
TEST(Weight, ComputeGradients8RoundsGradientsOfManyRowsAlone) {
  Weight coded = encoded(require_row(formats(), "format", "q4_1"), 96, 128, 16);
  Weight bf16 = coded;
  coded.set_compute(Compute::kGradients8);
  bf16.set_compute(Compute::kBF16);
  for (const int64_t n : {40, 300}) {
    const bool are_codes = n > 64 && kernels::codes_are_fastest();
    EXPECT_EQ(coded.gradients_are_codes(n), are_codes);
    EXPECT_FALSE(coded.with_fine_gradients().gradients_are_codes(n));
    EXPECT_FALSE(bf16.gradients_are_codes(n));
    if (!coded.runs_packed(n)) continue;
    const auto x = normals(n * 128, 17), dy = normals(n * 96, 18);
    kernels::PackedRows left(n, 128), gradient(n, 96);
    left.pack(x.data(), 128, 1);
    gradient.pack(dy.data(), 96, 1);
    std::vector<float> y(size_t(n * 96)), dx(size_t(n * 128)), y_bf16(y), dx_bf16(dx);
    coded.matmul(left, y.data());
    bf16.matmul(left, y_bf16.data());
    EXPECT_EQ(y, y_bf16);
    coded.matmul_transposed(gradient, dx.data());
    bf16.matmul_transposed(gradient, dx_bf16.data());
    if (are_codes) {
      EXPECT_LT(off_by(dx, dx_bf16), 0.012);
      EXPECT_NE(dx, dx_bf16);
    } else {
      EXPECT_EQ(dx, dx_bf16);
    }
  }
}

// Both directions of tiles of 8-bit integers, where they are native; few rows are those of bf16.
TEST(Weight, ComputeTiles8RoundsBothFactorsTo8Bits) {
  Weight w = encoded(require_row(formats(), "format", "q4_1"), 96, 128, 16);
  Weight exact = w, bf16 = w;
  w.set_compute(Compute::kTiles8);
  bf16.set_compute(Compute::kBF16);
  for (const int64_t n : {2, 9, 300}) {
    const auto x = normals(n * 128, 17), dy = normals(n * 96, 18);
    std::vector<float> y[3], dx[3];
    int place = 0;
    for (const Weight* weight : {&w, &exact, &bf16}) {
      y[place].resize(size_t(n * 96));
      dx[place].resize(size_t(n * 128));
      weight->matmul(x.data(), n, y[place].data());
      weight->matmul_transposed(dy.data(), n, dx[place].data());
      ++place;
    }
    EXPECT_LT(off_by(y[0], y[1]), 0.012);
    EXPECT_LT(off_by(dx[0], dx[1]), 0.012);
    EXPECT_EQ(w.tiles(n), kernels::Tiles::kInt8);
    if (!w.runs_packed(n)) {
      EXPECT_EQ(y[0], y[2]);
      EXPECT_EQ(dx[0], dx[2]);
    } else {
      EXPECT_GT(off_by(y[0], y[1]), 0.003);
    }
  }
}

// Few rows in integers and many in tiles; without such kernels, or where a row may not depend on
// the others, one of both.
TEST(Weight, ComputeMixedGoesByTheNumberOfRows) {
  Weight mixed = encoded(require_row(formats(), "format", "q4_1"), 40, 64, 14);
  mixed.set_compute(Compute::kMixed);
  Weight int8 = mixed, bf16 = mixed;
  int8.set_compute(Compute::kInt8);
  bf16.set_compute(Compute::kBF16);
  const auto product = [&](const Weight& w, int64_t n) {
    const auto x = normals(n * 64, 15);
    std::vector<float> y(size_t(n * 40));
    w.matmul(x.data(), n, y.data());
    return y;
  };
  EXPECT_EQ(product(mixed, kMixedRows), product(int8, kMixedRows));
  if (kernels::int8_tiles_are_fastest()) {  // the same integers, their sums in another order
    const auto got = product(mixed, kMixedRows + 1), want = product(int8, kMixedRows + 1);
    for (size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(got[i], want[i], 1e-4);
  } else {
    EXPECT_EQ(product(mixed, kMixedRows + 1), product(bf16, kMixedRows + 1));
  }
  kernels::set_batch_invariant(true);
  EXPECT_EQ(product(mixed, kMixedRows + 1), product(int8, kMixedRows + 1));
  kernels::set_batch_invariant(false);
  Weight plain = encoded(require_row(formats(), "format", "f16"), 40, 64, 14);
  plain.set_compute(Compute::kMixed);
  Weight rounded = plain;
  rounded.set_compute(Compute::kBF16);
  EXPECT_EQ(product(plain, 9), product(rounded, 9));
}

TEST(Weight, SliceSharesBytesAndRows) {
  const Weight w = encoded(require_row(formats(), "format", "q4_1"), 10, 64, 3);
  const Weight slice = w.slice_rows(4, 7);
  std::vector<float> a(64), b(64);
  w.decode_row(5, a.data());
  slice.decode_row(1, b.data());
  EXPECT_EQ(a, b);
  EXPECT_EQ(slice.rows(), 3);
  EXPECT_EQ(slice.bytes().data(), w.bytes().data() + 4 * 40);
  EXPECT_THROW(w.slice_rows(4, 11), Error);
}

TEST(Weight, RefusesColumnsThatBreakABlock) {
  std::byte none{};
  EXPECT_THROW(Weight(require_row(formats(), "format", "q8_0"), 1, 33, &none, nullptr), Error);
}

}  // namespace
}  // namespace moxie::quant
