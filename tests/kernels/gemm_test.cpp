#include "kernels/gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "base/cpu.h"
#include "base/threads.h"
#include "kernels/micro.h"
#include "normals.h"

namespace moxie::kernels {
namespace {

struct Size {
  int64_t m, n, k;
};

// Register tiles and panels with and without remainders, thin and deep ones.
const Size kSizes[] = {{1, 1, 1},    {1, 40, 70},    {4, 17, 33},   {5, 16, 8},     {6, 16, 384},
                       {7, 31, 385}, {13, 100, 9},   {40, 8, 576},  {8, 200, 40},   {33, 64, 16},
                       {64, 5, 800}, {97, 130, 101}, {30, 700, 24}, {50, 300, 1000}};

enum class Kind { kNN, kNT, kTN };

template <class T>
void product(Kind kind, const Size& s, const T* a, const T* b, T* c, bool accumulate, T alpha) {
  if (kind == Kind::kNN) gemm_nn(s.m, s.n, s.k, a, b, c, accumulate, alpha);
  if (kind == Kind::kNT) gemm_nt(s.m, s.n, s.k, a, b, c, accumulate, alpha);
  if (kind == Kind::kTN) gemm_tn(s.m, s.n, s.k, a, b, c, accumulate, alpha);
}

double naive(Kind kind, const Size& s, const std::vector<float>& a, const std::vector<float>& b,
             int64_t i, int64_t j, double* size) {
  double sum = 0;
  for (int64_t p = 0; p < s.k; ++p) {
    const double x = a[size_t(kind == Kind::kTN ? p * s.m + i : i * s.k + p)];
    const double y = b[size_t(kind == Kind::kNT ? j * s.k + p : p * s.n + j)];
    sum += x * y;
    *size += std::fabs(x * y);
  }
  return sum;
}

class Gemm : public testing::TestWithParam<Kind> {};

TEST_P(Gemm, EqualsTheNaiveProduct) {
  for (const Size& s : kSizes) {
    const auto a = normals(s.m * s.k, 1);
    const auto b = normals(s.n * s.k, 2);
    const auto start = normals(s.m * s.n, 3);
    const std::vector<double> a64(a.begin(), a.end());
    const std::vector<double> b64(b.begin(), b.end());
    for (const bool accumulate : {false, true}) {
      auto c = start;
      std::vector<double> c64(start.begin(), start.end());
      product<float>(GetParam(), s, a.data(), b.data(), c.data(), accumulate, 0.5f);
      product<double>(GetParam(), s, a64.data(), b64.data(), c64.data(), accumulate, 0.5);
      for (int64_t i = 0; i < s.m; ++i) {
        for (int64_t j = 0; j < s.n; ++j) {
          const auto at = size_t(i * s.n + j);
          double size = 1;
          const double want =
              0.5 * naive(GetParam(), s, a, b, i, j, &size) + (accumulate ? start[at] : 0.0);
          ASSERT_NEAR(c[at], want, 4e-7 * size)
              << s.m << 'x' << s.n << 'x' << s.k << " at " << i << ',' << j;
          ASSERT_NEAR(c64[at], want, 1e-14 * size);
        }
      }
    }
  }
}

TEST_P(Gemm, BitsDoNotDependOnThreads) {
  const int before = thread_count();
  for (const Size& s : kSizes) {
    const auto a = normals(s.m * s.k, 4);
    const auto b = normals(s.n * s.k, 5);
    std::vector<float> first(size_t(s.m * s.n));
    for (const int threads : {1, 2, 3}) {
      set_thread_count(threads);
      std::vector<float> c(first.size());
      product<float>(GetParam(), s, a.data(), b.data(), c.data(), false, 1.0f);
      if (threads == 1) first = c;
      EXPECT_EQ(std::memcmp(c.data(), first.data(), c.size() * 4), 0);
    }
  }
  set_thread_count(before);
}

INSTANTIATE_TEST_SUITE_P(Kinds, Gemm, testing::Values(Kind::kNN, Kind::kNT, Kind::kTN));

TEST(GemmRows, DoNotInfluenceEachOther) {
  const int64_t n = 90, k = 500, most = 40;
  const auto a = normals(most * k, 6);
  const auto b = normals(n * k, 7);
  std::vector<float> whole(size_t(most * n)), few(size_t(kFewRows * n));
  gemm_nt(most, n, k, a.data(), b.data(), whole.data());
  gemm_nt(kFewRows, n, k, a.data(), b.data(), few.data());
  for (int64_t m = 1; m <= most; ++m) {
    std::vector<float> c(size_t(m * n));
    gemm_nt(m, n, k, a.data(), b.data(), c.data());
    const auto& same = m <= kFewRows ? few : whole;
    EXPECT_EQ(std::memcmp(c.data(), same.data(), c.size() * 4), 0) << m;
  }
}

TEST(GemmRows, BatchInvarianceMakesFewRowsAsMany) {
  const int64_t n = 90, k = 500, most = 40;
  const auto a = normals(most * k, 6);
  const auto b = normals(n * k, 7);
  const auto product_of = [&](int64_t m) {
    std::vector<float> c(size_t(m * n));
    gemm_nt(m, n, k, a.data(), b.data(), c.data());
    return c;
  };
  const auto few = product_of(1);
  set_batch_invariant(true);
  const auto whole = product_of(most);
  for (int64_t m = 1; m <= most; ++m) {
    const auto c = product_of(m);
    EXPECT_EQ(std::memcmp(c.data(), whole.data(), c.size() * 4), 0) << m;
  }
  set_batch_invariant(false);
  EXPECT_NE(std::memcmp(few.data(), whole.data(), few.size() * 4), 0)
      << "else the flag does nothing";
}

struct Rows {
  const std::vector<float>* values;
  int64_t cols;
};

void copy_row(const void* context, int64_t row, int64_t begin, int64_t end, float* out) {
  const auto& rows = *static_cast<const Rows*>(context);
  ASSERT_EQ(begin % 32, 0);
  std::copy(rows.values->begin() + row * rows.cols + begin,
            rows.values->begin() + row * rows.cols + end, out);
}

TEST(GemmDecoded, EqualsTheDenseProduct) {
  const int64_t out = 70, in = 416;
  const auto w = normals(out * in, 8);
  const Rows rows{&w, in};
  const RowDecoder decoder{&rows, copy_row, 32};
  for (const int64_t m : {1, 4, 5, 37}) {
    const auto x = normals(m * in, 9);
    std::vector<float> y(size_t(m * out), 1.0f), want(y);
    gemm_nt(m, out, in, x.data(), decoder, y.data(), true);
    gemm_nt(m, out, in, x.data(), w.data(), want.data(), true);
    EXPECT_EQ(y, want);
    const auto dy = normals(m * out, 10);
    std::vector<float> dx(size_t(m * in)), expected(dx);
    gemm_nn(m, in, out, dy.data(), decoder, dx.data());
    gemm_nn(m, in, out, dy.data(), w.data(), expected.data());
    for (size_t i = 0; i < dx.size(); ++i) EXPECT_NEAR(dx[i], expected[i], 1e-4);
  }
}

TEST(Micro, EveryTableOfThisCpuEqualsTheScalarOne) {
  std::vector<const Micro*> tables{&kMicroScalar};
#ifndef MOXIE_SCALAR_ONLY
  if (active_isa() >= Isa::kAvx2) tables.push_back(&kMicroAvx2);
  if (active_isa() >= Isa::kAvx512) tables.push_back(&kMicroAvx512);
#endif
  const int64_t k = 75;
  for (const Micro* table : tables) {
    const auto src = normals(table->cols * k, 13);
    for (int n = 1; n <= table->cols; ++n) {
      std::vector<float> panel(size_t(table->cols * k), -1.0f);
      table->transpose(n, k, src.data(), k, panel.data());
      for (int64_t p = 0; p < k; ++p) {
        for (int j = 0; j < table->cols; ++j) {
          ASSERT_EQ(panel[size_t(p * table->cols + j)], j < n ? src[size_t(j * k + p)] : 0.0f);
        }
      }
    }
    for (const int64_t n : {1, 8, 32, 75}) {  // columns of rows of 75
      const int64_t cols = table->cols;
      const int64_t rows = cols;
      std::vector<float> panels(size_t((n + cols - 1) / cols * cols * rows), -1.0f);
      table->pack(n, rows, src.data(), k, panels.data());
      for (size_t at = 0; at < panels.size(); ++at) {
        const int64_t j = static_cast<int64_t>(at) / (cols * rows) * cols + int64_t(at) % cols;
        const int64_t p = static_cast<int64_t>(at) / cols % rows;
        ASSERT_EQ(panels[at], j < n ? src[size_t(p * k + j)] : 0.0f) << n << " at " << at;
      }
    }
  }
}

TEST(ThinTN, EqualsTheNaiveProductForAnyThreads) {
  const int before = thread_count();
  for (const Size& s : {Size{1, 1, 1}, Size{16, 576, 70}, Size{5, 33, 64}, Size{40, 300, 31},
                        Size{6, 1000, 200}, Size{3, 20, 0}}) {
    const auto a = normals(s.m * s.k, 1);
    const auto b = normals(s.n * s.k, 2);
    std::vector<float> first;
    for (const int threads : {1, 2, 3}) {
      set_thread_count(threads);
      std::vector<float> c(size_t(s.m * s.n), 77.0f);
      thin_tn(s.m, s.n, s.k, a.data(), b.data(), c.data(), 0.5f);
      if (threads == 1) first = c;
      EXPECT_EQ(c, first) << threads << " threads";
    }
    for (int64_t i = 0; i < s.m; ++i) {
      for (int64_t j = 0; j < s.n; ++j) {
        double size = 0;
        const double want = 0.5 * naive(Kind::kTN, s, a, b, i, j, &size);
        EXPECT_NEAR(first[size_t(i * s.n + j)], want, 1e-6 * size) << i << ',' << j;
      }
    }
  }
  set_thread_count(before);
}

}  // namespace
}  // namespace moxie::kernels
