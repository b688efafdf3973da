#include "kernels/onednn.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/cpu.h"
#include "normals.h"
#include "tensor/dtype.h"

namespace moxie::kernels {
namespace {

struct Dense {
  const std::vector<float>* values;
  int64_t cols;
};

void copy_row(const void* context, int64_t row, int64_t begin, int64_t end, float* out) {
  const auto& dense = *static_cast<const Dense*>(context);
  std::copy(dense.values->begin() + row * dense.cols + begin,
            dense.values->begin() + row * dense.cols + end, out);
}

float rounded(float x, PackedMatrix::Type type) {
  return type == PackedMatrix::Type::kBF16 ? to_float(to_bfloat16(x)) : x;
}

void check(PackedMatrix::Type type) {
  const int64_t out = 70, in = 96;
  const auto w = normals(out * in, 1);
  const Dense dense{&w, in};
  const RowDecoder rows{&dense, copy_row, 1};
  const PackedMatrix forward(in, out, rows, true, type);
  const PackedMatrix backward(out, in, rows, false, type);
  EXPECT_GE(forward.bytes(), static_cast<size_t>(out * in * 2));
  for (const int64_t m : {1, 5, 37}) {
    for (const bool accumulate : {false, true}) {
      const auto x = normals(m * in, 2);
      const auto dy = normals(m * out, 3);
      std::vector<float> y(static_cast<size_t>(m * out), 2.0f),
          dx(static_cast<size_t>(m * in), 2.0f);
      forward.multiply(x.data(), m, y.data(), accumulate);
      backward.multiply(dy.data(), m, dx.data(), accumulate);
      for (int64_t i = 0; i < m; ++i) {
        for (int64_t j = 0; j < out; ++j) {
          double sum = accumulate ? 2 : 0;
          for (int64_t p = 0; p < in; ++p) {
            sum +=
                double(rounded(x[size_t(i * in + p)], type)) * rounded(w[size_t(j * in + p)], type);
          }
          ASSERT_NEAR(y[size_t(i * out + j)], sum, 1e-4);
        }
        for (int64_t p = 0; p < in; ++p) {
          double sum = accumulate ? 2 : 0;
          for (int64_t j = 0; j < out; ++j) {
            sum += double(rounded(dy[size_t(i * out + j)], type)) *
                   rounded(w[size_t(j * in + p)], type);
          }
          ASSERT_NEAR(dx[size_t(i * in + p)], sum, 1e-4);
        }
      }
    }
  }
}

TEST(OneDnn, PackedF32ProductsEqualTheReference) {
  check(PackedMatrix::Type::kF32);
}

TEST(OneDnn, PackedBF16ProductsEqualTheReference) {
  if (!has_bf16_tiles()) GTEST_SKIP() << "this CPU has no bf16 products";
  check(PackedMatrix::Type::kBF16);
}

}  // namespace
}  // namespace moxie::kernels
