#include "kernels/packed_rows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/threads.h"
#include "kernels/products.h"
#include "normals.h"

namespace moxie::kernels {
namespace {

double rounded(float x) {
  return to_float(to_bfloat16(x));
}

// Few rows and many, which the threads share in another way; with and without remainders.
const ThinSize kSizes[] = {
    {5, 33, 40, 3}, {37, 70, 96, 16}, {70, 96, 64, 24}, {48, 32, 64, 40}, {300, 130, 600, 16}};

// sum_p a[i, p] b(p, j) + sum_q (h[i, q] / 2) thin(q, j), all rounded; and the terms' sizes.
template <class B, class Thin>
void expect_product(const ThinSize& s, const std::vector<float>& a, const std::vector<float>& h,
                    B b, Thin thin, const std::vector<float>& got, double start) {
  for (int64_t i = 0; i < s.m; ++i) {
    for (int64_t j = 0; j < s.n; ++j) {
      double want = start, size = 1;
      const auto add = [&](double x, double y) {
        want += x * y;
        size += std::fabs(x * y);
      };
      for (int64_t p = 0; p < s.k; ++p) add(rounded(a[size_t(i * s.k + p)]), rounded(b(p, j)));
      for (int64_t q = 0; q < s.r; ++q) add(rounded(0.5f * h[size_t(i * s.r + q)]), thin(q, j));
      ASSERT_NEAR(got[size_t(i * s.n + j)], want, 3e-6 * size) << s.m << " rows, " << i << ',' << j;
    }
  }
}

TEST(PackedRows, ProductsTakeTheSpareNumbersAlong) {
  for (const ThinSize& s : kSizes) {
    const auto a = normals(s.m * s.k, 1), w = normals(s.n * s.k, 2), h = normals(s.m * s.r, 3);
    const auto thin = normals(s.n * s.r, 4);
    const PackedRows rows = packed(a, s, h, 0.5f, Tiles::kBF16);
    const Rows by_n{&w, s.k}, by_k{&w, s.n};
    std::vector<float> c(size_t(s.m * s.n), 1.0f);
    multiply_nt(rows, s.n, RowDecoder{&by_n, copy_row<1>, 1}, thin.data(), c.data(), true);
    expect_product(
        s, a, h, [&](int64_t p, int64_t j) { return w[size_t(j * s.k + p)]; },
        [&](int64_t q, int64_t j) { return rounded(thin[size_t(j * s.r + q)]); }, c, 1);
    multiply_nn(rows, s.n, RowDecoder{&by_k, copy_row<1>, 1}, thin.data(), c.data(), false);
    expect_product(
        s, a, h, [&](int64_t p, int64_t j) { return w[size_t(p * s.n + j)]; },
        [&](int64_t q, int64_t j) { return rounded(thin[size_t(q * s.n + j)]); }, c, 0);
    const auto nothing = [](int64_t, int64_t) { return 0.0; };
    multiply_nt(rows, s.n, w.data(), c.data());
    expect_product(
        s, a, h, [&](int64_t p, int64_t j) { return w[size_t(j * s.k + p)]; }, nothing, c, 0);
    multiply_nn(rows, s.n, w.data(), 1, c.data());
    expect_product(
        s, a, h, [&](int64_t p, int64_t j) { return w[size_t(p * s.n + j)]; }, nothing, c, 0);
  }
}

TEST(PackedRows, TheirTransposeTimesThemIsSummedOverRows) {
  for (const ThinSize& s : kSizes) {
    const auto a = normals(s.m * s.k, 5), h = normals(s.m * s.r, 6);
    const PackedRows rows = packed(a, s, h, 0.5f, Tiles::kBF16);
    std::vector<float> c(size_t(s.r * s.k));
    multiply_tn(s.r, h.data(), rows, 2, c.data());
    expect_transposed_product(
        s, h, [&](size_t at) { return rounded(a[at]); }, c, 3e-6);
  }
}

void expect_same_bits_with_any_threads(Tiles kind) {
  const int before = thread_count();
  for (const ThinSize& s : kSizes) {
    const auto a = normals(s.m * s.k, 7), w = normals(s.n * s.k, 8), h = normals(s.m * s.r, 9);
    const Rows by_n{&w, s.k};
    std::vector<float> first(size_t(s.m * s.n)), gradient(size_t(s.r * s.k));
    for (const int threads : {1, 2, 3}) {
      set_thread_count(threads);
      const PackedRows rows = packed(a, s, h, 0.5f, kind);
      std::vector<float> c(first.size()), g(gradient.size());
      multiply_nt(rows, s.n, RowDecoder{&by_n, copy_row<1>, 1}, nullptr, c.data());
      multiply_tn(s.r, h.data(), rows, 1, g.data());
      if (threads == 1) {
        first = c;
        gradient = g;
      }
      EXPECT_EQ(c, first);
      EXPECT_EQ(g, gradient);
    }
  }
  set_thread_count(before);
}

TEST(PackedRows, BitsDoNotDependOnThreads) {
  expect_same_bits_with_any_threads(Tiles::kBF16);
  expect_same_bits_with_any_threads(Tiles::kInt8);
  expect_same_bits_with_any_threads(Tiles::kInt8Wide);
}

}  // namespace
}  // namespace moxie::kernels
