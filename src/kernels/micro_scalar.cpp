#include "kernels/micro.h"

// The reference: what the vector kernels are tested against, and what any CPU runs.
namespace moxie::kernels {
namespace {

constexpr int kRows = 4;
constexpr int kCols = 8;

void tile(int r, int n, int64_t k, const float* a, int64_t a_row, int64_t a_step, const float* b,
          int64_t ldb, float* c, int64_t ldc, float alpha, bool accumulate) {
  float sums[kRows][kCols] = {};
  for (int64_t p = 0; p < k; ++p) {
    for (int i = 0; i < r; ++i) {
      const float scale = a[i * a_row + p * a_step];
      for (int j = 0; j < kCols; ++j) sums[i][j] += scale * b[p * ldb + j];
    }
  }
  for (int i = 0; i < r; ++i) {
    for (int j = 0; j < n; ++j) {
      float& out = c[i * ldc + j];
      out = (accumulate ? out : 0.0f) + alpha * sums[i][j];
    }
  }
}

void transpose(int n, int64_t k, const float* src, int64_t ld, float* panel) {
  for (int64_t p = 0; p < k; ++p) {
    for (int j = 0; j < kCols; ++j) panel[p * kCols + j] = j < n ? src[j * ld + p] : 0.0f;
  }
}

void pack(int64_t n, int64_t k, const float* src, int64_t ld, float* panels) {
  for (int64_t j = 0; j < n; j += kCols, panels += kCols * k) {
    for (int64_t p = 0; p < k; ++p) {
      for (int64_t i = 0; i < kCols; ++i) {
        panels[p * kCols + i] = j + i < n ? src[p * ld + j + i] : 0.0f;
      }
    }
  }
}

}  // namespace

const Micro kMicroScalar{kRows, kCols, tile, transpose, pack};

}  // namespace moxie::kernels
