#pragma once
// The innermost loops of the f32 products, one table an instruction set. micro_impl.h is the source
// that is compiled for each; micro_scalar.cpp is the plain reference.
#include <cstdint>

namespace moxie::kernels {

struct Micro {
  int rows;  // most rows of a register tile
  int cols;  // columns of a register tile = width of a packed panel of B

  // c[r, n] (+)= alpha a[r, k] b[k, n] for r <= rows, n <= cols. a's element (i, p) stands at
  // a[i * a_row + p * a_step]; row p of b at b + p * ldb holds `cols` readable floats; c has rows
  // of ldc floats, of which n are touched.
  void (*tile)(int r, int n, int64_t k, const float* a, int64_t a_row, int64_t a_step,
               const float* b, int64_t ldb, float* c, int64_t ldc, float alpha, bool accumulate);
  // panel[p * cols + j] = src[j * ld + p] for j < n, 0 for n <= j < cols; p < k.
  void (*transpose)(int n, int64_t k, const float* src, int64_t ld, float* panel);
  // Panels of n columns, one after another: panel[p * cols + j] = src[p * ld + j], zero padded.
  void (*pack)(int64_t n, int64_t k, const float* src, int64_t ld, float* panels);
};

const Micro& micro();  // of active_isa()

extern const Micro kMicroScalar;
#ifndef MOXIE_SCALAR_ONLY
extern const Micro kMicroAvx2;
extern const Micro kMicroAvx512;
#endif

}  // namespace moxie::kernels
