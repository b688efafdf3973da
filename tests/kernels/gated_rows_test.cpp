#include "kernels/gated_rows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/threads.h"
#include "kernels/products.h"
#include "normals.h"
#include "off_by.h"

namespace moxie::kernels {
namespace {

struct GatedSize {
  int64_t m, n, k, r;
};
// Few rows and many, with and without remainders of rows, columns and depth.
const GatedSize kSizes[] = {{5, 48, 40, 3}, {37, 70, 96, 16}, {300, 130, 600, 40}};

PackedRows packed(const std::vector<float>& values, int64_t rows, int64_t cols, int64_t spare,
                  const std::vector<float>& h) {
  PackedRows result(rows, cols, spare);
  result.pack(values.data(), cols, 1);
  if (spare > 0) result.set_spare(h.data(), 1);
  return result;
}

// What stands in packed rows: their product with the unit matrix.
std::vector<float> unpacked(const PackedRows& rows) {
  const auto n = static_cast<size_t>(rows.cols());
  std::vector<float> unit(n * n), out(static_cast<size_t>(rows.rows()) * n);
  for (size_t i = 0; i < n; ++i) unit[i * n + i] = 1;
  multiply_nt(rows, rows.cols(), unit.data(), out.data());
  return out;
}

void expect_rounded(const std::vector<float>& got, const std::vector<float>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_NEAR(got[i], want[i], std::fabs(want[i]) / 128 + 1e-4) << "number " << i;
  }
}

struct Result {
  std::vector<float> g, u, y, again, dg, du;
};

Result run(const GatedSize& s, bool in_codes = false) {
  const auto x = normals(s.m * s.k, 1), h = normals(s.m * s.r, 2);
  const auto gate = normals(s.n * s.k, 3, 0.1), up = normals(s.n * s.k, 4, 0.1);
  const auto thin = normals(s.n * s.r, 5), dz = normals(s.m * s.k, 6);
  const auto down = normals(s.k * s.n, 7, 0.1), back = normals(s.r * s.n, 8);
  const Rows by_gate{&gate, s.k}, by_up{&up, s.k}, by_down{&down, s.n};
  const auto decoder = [](const Rows& rows) { return RowDecoder{&rows, copy_row<1>, 1}; };
  PackedRows g(s.m, s.n, s.r), u(s.m, s.n), y(s.m, s.n);
  multiply_gated(packed(x, s.m, s.k, s.r, h), {decoder(by_gate), thin.data()},
                 {decoder(by_up), nullptr}, Activation::kSilu, &g, &u, y);
  Result result{unpacked(g), unpacked(u), unpacked(y), {}, {}, {}};
  PackedRows again(s.m, s.n);
  multiply_gated_backward(packed(dz, s.m, s.k, s.r, h), {decoder(by_down), back.data()},
                          Activation::kSilu, g, u, g, u, &again, in_codes);
  result.again = unpacked(again);
  result.dg = unpacked(g);
  result.du = unpacked(u);
  return result;
}

TEST(GatedRows, AreTheProductsAndWhatIsMadeOfThem) {
  for (const GatedSize& s : kSizes) {
    const Result got = run(s);
    const auto x = normals(s.m * s.k, 1), h = normals(s.m * s.r, 2);
    const auto gate = normals(s.n * s.k, 3, 0.1), up = normals(s.n * s.k, 4, 0.1);
    const auto thin = normals(s.n * s.r, 5), dz = normals(s.m * s.k, 6);
    const auto down = normals(s.k * s.n, 7, 0.1), back = normals(s.r * s.n, 8);
    const auto size = static_cast<size_t>(s.m * s.n);
    std::vector<float> g(size), u(size), y(size), dy(size), dg(size), du(size);
    const Rows by_gate{&gate, s.k}, by_up{&up, s.k}, by_down{&down, s.n};
    const auto decoder = [](const Rows& rows) { return RowDecoder{&rows, copy_row<1>, 1}; };
    const PackedRows left = packed(x, s.m, s.k, s.r, h), right = packed(dz, s.m, s.k, s.r, h);
    multiply_nt(left, s.n, decoder(by_gate), thin.data(), g.data());
    multiply_nt(left, s.n, decoder(by_up), nullptr, u.data());
    multiply_nn(right, s.n, decoder(by_down), back.data(), dy.data(), false);
    const auto count = static_cast<int64_t>(size);
    row_kernels<float>().gate(Activation::kSilu, g.data(), u.data(), y.data(), count);
    expect_rounded(got.g, g);
    expect_rounded(got.u, u);
    expect_rounded(got.y, y);
    // The gradients, and y in the backward, are of the rounded numbers.
    row_kernels<float>().gate_backward(Activation::kSilu, got.g.data(), got.u.data(), dy.data(),
                                       dg.data(), du.data(), y.data(), count);
    expect_rounded(got.again, y);
    expect_rounded(got.dg, dg);
    expect_rounded(got.du, du);
  }
}

// With dy from codes, dg and du are off by what dz and the matrix were rounded by; y is not.
TEST(GatedRows, GradientsFromCodesAreNear) {
  for (const GatedSize& s : kSizes) {
    const Result plain = run(s), coded = run(s, true);
    EXPECT_EQ(coded.again, plain.again);
    EXPECT_LT(off_by(coded.dg, plain.dg), 0.015);
    EXPECT_LT(off_by(coded.du, plain.du), 0.015);
    EXPECT_GT(off_by(coded.du, plain.du), 0.001);
  }
}

TEST(GatedRows, BitsDoNotDependOnThreads) {
  const int before = thread_count();
  for (const GatedSize& s : kSizes) {
    for (const bool in_codes : {false, true}) {
      set_thread_count(1);
      const Result one = run(s, in_codes);
      for (const int threads : {2, 3}) {
        set_thread_count(threads);
        const Result more = run(s, in_codes);
        EXPECT_EQ(more.y, one.y);
        EXPECT_EQ(more.again, one.again);
        EXPECT_EQ(more.dg, one.dg);
        EXPECT_EQ(more.du, one.du);
      }
    }
  }
  set_thread_count(before);
}

}  // namespace
}  // namespace moxie::kernels
