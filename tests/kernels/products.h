#pragma once
// What the tests of rounded products share: the three kinds, a matrix known by its rows, and packed
// rows with spare numbers.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/gemm.h"
#include "kernels/packed_rows.h"

namespace moxie::kernels {

struct Size {
  int64_t m, n, k;
};

enum class Kind { kNN, kNT, kTN };

inline void product(Kind kind, Arithmetic arithmetic, const Size& s, const float* a, const float* b,
                    float* c, bool accumulate, float alpha) {
  if (kind == Kind::kNN) gemm_nn(s.m, s.n, s.k, a, b, c, accumulate, alpha, arithmetic);
  if (kind == Kind::kNT) gemm_nt(s.m, s.n, s.k, a, b, c, accumulate, alpha, arithmetic);
  if (kind == Kind::kTN) gemm_tn(s.m, s.n, s.k, a, b, c, accumulate, alpha, arithmetic);
}

// Where elements (i, p) of A and (p, j) of B stand.
inline size_t at_a(Kind kind, const Size& s, int64_t i, int64_t p) {
  return static_cast<size_t>(kind == Kind::kTN ? p * s.m + i : i * s.k + p);
}
inline size_t at_b(Kind kind, const Size& s, int64_t p, int64_t j) {
  return static_cast<size_t>(kind == Kind::kNT ? j * s.k + p : p * s.n + j);
}

// How far a rounded number is from what it was, at most, for the largest of its matrix.
struct HalfSteps {
  double a, b;
};

// c = before + a b, but for the rounding of both; on the whole within 2%.
inline void expect_rounded(Kind kind, const Size& s, const std::vector<float>& a,
                           const std::vector<float>& b, const std::vector<float>& before,
                           const std::vector<float>& c, HalfSteps steps) {
  const auto most = [](const std::vector<float>& v) {
    double top = 0;
    for (const float x : v) top = std::max(top, double{std::fabs(x)});
    return top;
  };
  const double step_a = most(a) * steps.a, step_b = most(b) * steps.b;
  double squares = 0, wanted = 0;
  for (int64_t i = 0; i<s.m; i += s.m> 1000 ? 97 : 1) {
    for (int64_t j = 0; j < s.n; ++j) {
      const auto at = static_cast<size_t>(i * s.n + j);
      double want = before[at];
      double bound = 1e-5;
      for (int64_t p = 0; p < s.k; ++p) {
        const double x = a[at_a(kind, s, i, p)];
        const double y = b[at_b(kind, s, p, j)];
        want += x * y;
        bound += (std::fabs(x) + step_a) * step_b + std::fabs(y) * step_a;
      }
      ASSERT_NEAR(c[at], want, bound) << s.m << 'x' << s.n << 'x' << s.k << " at " << i << ',' << j;
      squares += (c[at] - want) * (c[at] - want);
      wanted += want * want;
    }
  }
  EXPECT_LT(std::sqrt(squares / wanted), 0.02) << s.m << 'x' << s.n << 'x' << s.k;
}

// c is no number in this row and this column, and elsewhere as `whole` is.
inline void expect_spoilt(const Size& s, int64_t row, int64_t col, const std::vector<float>& c,
                          const std::vector<float>& whole) {
  for (int64_t i = 0; i < s.m; ++i) {
    for (int64_t j = 0; j < s.n; ++j) {
      const auto at = static_cast<size_t>(i * s.n + j);
      if (i == row || j == col) {
        EXPECT_TRUE(std::isnan(c[at]));
      } else {
        EXPECT_EQ(c[at], whole[at]);
      }
    }
  }
}

// A RowDecoder's context and callback, for a decoder of this granule.
struct Rows {
  const std::vector<float>* values;
  int64_t cols;
};
template <int64_t kGranule>
void copy_row(const void* context, int64_t row, int64_t begin, int64_t end, float* out) {
  const auto& rows = *static_cast<const Rows*>(context);
  ASSERT_EQ(begin % kGranule, 0);
  std::copy(rows.values->begin() + row * rows.cols + begin,
            rows.values->begin() + row * rows.cols + end, out);
}

struct ThinSize {
  int64_t m, n, k, r;
};

inline PackedRows packed(const std::vector<float>& a, const ThinSize& s,
                         const std::vector<float>& h, float factor, Tiles kind) {
  PackedRows rows(s.m, s.k, s.r, kind);
  rows.pack(a.data(), s.k, 1);
  rows.set_spare(h.data(), factor);
  return rows;
}

// c[r, k] = 2 h[m, r]^T a, where a(at) is what number `at` of a was rounded to.
template <class A>
void expect_transposed_product(const ThinSize& s, const std::vector<float>& h, A a,
                               const std::vector<float>& c, double tolerance) {
  for (int64_t q = 0; q < s.r; ++q) {
    for (int64_t p = 0; p < s.k; ++p) {
      double want = 0, size = 1;
      for (int64_t i = 0; i < s.m; ++i) {
        const double x =
            2.0 * to_float(to_bfloat16(h[size_t(i * s.r + q)])) * a(size_t(i * s.k + p));
        want += x;
        size += std::fabs(x);
      }
      ASSERT_NEAR(c[size_t(q * s.k + p)], want, tolerance * size)
          << s.m << " rows, " << q << ',' << p;
    }
  }
}

}  // namespace moxie::kernels
