#pragma once
// Small products inside one thread, over the register-tile kernels: what attention's tiles need. In
// float they run on micro(); in double as plain loops over the same layout.
// A packed operand B[k, n] is panels of width() columns, each [k, width()], zero padded.
#include <algorithm>
#include <cstdint>

#include "kernels/micro.h"
#include "kernels/scratch.h"

namespace moxie::kernels {

template <class T>
struct TileOps;

template <>
struct TileOps<float> {
  static int64_t width() { return micro().cols; }
  static void tile(int64_t r, int64_t n, int64_t k, const float* a, int64_t a_row, int64_t a_step,
                   const float* b, int64_t ldb, float* c, int64_t ldc, float alpha, bool add) {
    micro().tile(static_cast<int>(r), static_cast<int>(n), k, a, a_row, a_step, b, ldb, c, ldc,
                 alpha, add);
  }
  static int64_t rows() { return micro().rows; }
  static void transpose(int64_t n, int64_t k, const float* src, int64_t ld, float* panel) {
    micro().transpose(static_cast<int>(n), k, src, ld, panel);
  }
  static void pack(int64_t n, int64_t k, const float* src, int64_t ld, float* panels) {
    micro().pack(n, k, src, ld, panels);
  }
  static float* memory(Scratch slot, int64_t count) {
    return scratch(slot, static_cast<size_t>(count));
  }
};

template <>
struct TileOps<double> {
  static int64_t width() { return 8; }
  static int64_t rows() { return 4; }
  static void tile(int64_t r, int64_t n, int64_t k, const double* a, int64_t a_row, int64_t a_step,
                   const double* b, int64_t ldb, double* c, int64_t ldc, double alpha, bool add) {
    for (int64_t i = 0; i < r; ++i) {
      double sums[8] = {};
      for (int64_t p = 0; p < k; ++p) {
        for (int64_t j = 0; j < 8; ++j) sums[j] += a[i * a_row + p * a_step] * b[p * ldb + j];
      }
      for (int64_t j = 0; j < n; ++j) {
        c[i * ldc + j] = (add ? c[i * ldc + j] : 0.0) + alpha * sums[j];
      }
    }
  }
  static void transpose(int64_t n, int64_t k, const double* src, int64_t ld, double* panel) {
    for (int64_t p = 0; p < k; ++p) {
      for (int64_t j = 0; j < 8; ++j) panel[p * 8 + j] = j < n ? src[j * ld + p] : 0.0;
    }
  }
  static void pack(int64_t n, int64_t k, const double* src, int64_t ld, double* panels) {
    for (int64_t j = 0; j < n; j += 8, panels += 8 * k) {
      for (int64_t p = 0; p < k; ++p) {
        for (int64_t i = 0; i < 8; ++i) panels[p * 8 + i] = j + i < n ? src[p * ld + j + i] : 0.0;
      }
    }
  }
  static double* memory(Scratch slot, int64_t count) {
    return reinterpret_cast<double*>(scratch(slot, static_cast<size_t>(2 * count)));
  }
};

template <class T>
int64_t packed_size(int64_t k, int64_t n) {
  const int64_t width = TileOps<T>::width();
  return (n + width - 1) / width * width * k;
}

// B[p, j] = src[j * ld + p]: the rows of src become columns.
template <class T>
void pack_transposed(int64_t k, int64_t n, const T* src, int64_t ld, T* panels) {
  const int64_t width = TileOps<T>::width();
  for (int64_t j = 0; j < n; j += width, panels += width * k) {
    TileOps<T>::transpose(std::min(width, n - j), k, src + j * ld, ld, panels);
  }
}

// B[p, j] = src[p * ld + j]
template <class T>
void pack_rows(int64_t k, int64_t n, const T* src, int64_t ld, T* panels) {
  TileOps<T>::pack(n, k, src, ld, panels);
}

// Calls body(i, count) for strips of [0, m) that a register tile holds.
template <class T, class Body>
void for_strips(int64_t m, const Body& body) {
  const int64_t strips = (m + TileOps<T>::rows() - 1) / TileOps<T>::rows();
  for (int64_t s = 0; s < strips; ++s) {
    const int64_t i = m * s / strips;
    body(i, m * (s + 1) / strips - i);
  }
}

// c[m, n] (+)= alpha a[m, k] B for the rows of a strip; a's element (i, p) stands at
// a[i * a_row + p * a_step], the panels of B `panel` elements apart, of which the first k rows
// count.
template <class T>
void multiply(int64_t m, int64_t n, int64_t k, const T* a, int64_t a_row, int64_t a_step,
              const T* panels, int64_t panel, T* c, int64_t ldc, T alpha, bool accumulate) {
  const int64_t width = TileOps<T>::width();
  for (int64_t j = 0; j < n; j += width, panels += panel) {
    TileOps<T>::tile(m, std::min(width, n - j), k, a, a_row, a_step, panels, width, c + j, ldc,
                     alpha, accumulate);
  }
}

}  // namespace moxie::kernels
