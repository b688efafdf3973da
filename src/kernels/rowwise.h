#pragma once
// Kernels over rows of numbers, of the active instruction set in float and plain in double. They
// run on the calling thread: the caller splits rows or ranges over threads. An element's bits
// depend on its value alone, a sum's on the values and their order; not on where a range was cut.
// Vector exp: Cody and Waite's reduction to |r| <= ln(2) / 2 and a polynomial, at most 2 ulp off
// libm's; it overflows to infinity and underflows to 0 through the subnormals as exp does.
#include <cstdint>

#include "tensor/dtype.h"

namespace moxie::kernels {

// silu: x s(x), s the logistic function. gelu_tanh: Hendrycks and Gimpel's tanh form (2016).
// gelu: x Phi(x) by the error function.
enum class Activation { kSilu, kGeluTanh, kGelu };

// The scalars of a step of AdamW: optim/adamw.cpp says what they are.
template <class T>
struct AdamwStep {
  T factor, mix1, beta2, mix2, keep, size, root2, epsilon;
};

// n rows of keys or of values, end to end, as a decoding step meets them: d numbers for each of
// `key_heads`, each of which `group` queries share.
struct SharedKeys {
  int64_t key_heads, group, n, d;
  int64_t heads() const { return key_heads * group; }
  int64_t width() const { return key_heads * d; }
};

template <class T>
struct RowKernels {
  void (*exp)(const T* x, T* y, int64_t n);
  T (*max)(const T* x, int64_t n);  // -infinity when n = 0
  T (*sum)(const T* x, int64_t n);
  T (*dot)(const T* x, const T* y, int64_t n);
  double (*square_sum)(const T* x, int64_t n);  // of x_i^2, summed in double
  // y = exp(x - shift) and its sum, where x - shift <= 88; 0 where it is below -87.
  T (*exp_sum)(const T* x, T shift, T* y, int64_t n);
  void (*softcap)(const T* x, T cap, T* y, int64_t n);        // y = cap tanh(x / cap); y may be x
  void (*scale)(T factor, T* y, int64_t n);                   // y *= factor
  void (*add_scaled)(const T* x, T factor, T* y, int64_t n);  // y += factor x
  // Of n rows that stand `stride` apart: y_j = factor (x . row_j). Rows of 16 bits give the bits
  // that their values in T would, here and below.
  void (*dots)(const T* x, const T* rows, int64_t stride, int64_t n, int64_t d, T factor, T* y);
  void (*dots_bf16)(const T* x, const BFloat16* rows, int64_t stride, int64_t n, int64_t d,
                    T factor, T* y);
  void (*dots_f16)(const T* x, const Float16* rows, int64_t stride, int64_t n, int64_t d, T factor,
                   T* y);
  // What queries make of rows that they share: y_hj = factor (x_h . row_j), x [heads, d] and y
  // [heads, n];   y_h = sum_j w_hj row_j, w [heads, n] and y [heads, d]. Of row_j query h meets the
  // d numbers of its own key head. Rows are read once, in the order in which they stand.
  void (*group_dots)(const T* x, const SharedKeys& shape, const T* rows, T factor, T* y);
  void (*group_dots_f16)(const T* x, const SharedKeys& shape, const Float16* rows, T factor, T* y);
  void (*group_mix)(const T* w, const SharedKeys& shape, const T* rows, T* y);
  void (*group_mix_f16)(const T* w, const SharedKeys& shape, const Float16* rows, T* y);
  // Of n rows of d numbers that stand `stride` apart the values, end to end.
  void (*widen)(const Float16* rows, int64_t stride, int64_t n, int64_t d, T* y);
  // Rounds to nearest even. What is beyond +-65504, the largest, becomes that and not an infinity,
  // of which every later sum would be infinite or NaN; NaN stays NaN.
  void (*narrow)(const T* x, Float16* y, int64_t n);
  // The same of bf16, whose range is f32's.
  void (*widen_bf16)(const BFloat16* x, T* y, int64_t n);
  void (*narrow_bf16)(const T* x, BFloat16* y, int64_t n);

  void (*activate)(Activation kind, const T* x, T* y, int64_t n);
  void (*activate_backward)(Activation kind, const T* x, const T* dy, T* dx, int64_t n);
  // y = f(g) u, y may be g;   dg = dy u f'(g), du = dy f(g), and y once more unless it is null; dg
  // may be dy.
  void (*gate)(Activation kind, const T* g, const T* u, T* y, int64_t n);
  void (*gate_backward)(Activation kind, const T* g, const T* u, const T* dy, T* dg, T* du, T* y,
                        int64_t n);

  // r_i = 1 / sqrt(mean(x_i^2) + epsilon), y_ij = x_ij r_i (shift + w_j) for `rows` rows of d.
  void (*rms_norm)(const T* x, const T* w, T shift, T epsilon, int64_t rows, int64_t d, T* y);
  // dx = r (g - x r^2 mean(g x)), g = dy (shift + w); where dw is not null, dw_j += dy_j x_j r.
  void (*rms_norm_backward)(const T* x, const T* w, T shift, T epsilon, const T* dy, int64_t rows,
                            int64_t d, T* dx, T* dw);

  // One step of an online softmax over `rows` rows of n scores that stand `stride` apart: the
  // largest score so far becomes most', s becomes exp(s - most'), shrink exp(most - most') and
  // total total * shrink + sum. A score of -infinity gives 0, also while there is no other.
  void (*soften)(T* s, int64_t stride, int64_t rows, int64_t n, T* most, T* total, T* shrink);
  // Of a row of scores s, its softmax's lse and dp: p = exp(s - lse) in place of s, and in place of
  // dp ds = p (dp - delta). With a cap s is capped first, and ds also times 1 - (s / cap)^2.
  void (*score_gradient)(T lse, T delta, T cap, T* s, T* dp, int64_t n);

  // g = factor gradient;  mean += mix1 (g - mean);  square = beta2 square + mix2 g^2;
  // value = keep value + size mean / (sqrt(square) / root2 + epsilon)
  void (*adamw)(const AdamwStep<T>& step, const T* gradient, T* value, T* mean, T* square,
                int64_t n);
};

template <class T>
const RowKernels<T>& row_kernels();
template <>
const RowKernels<float>& row_kernels<float>();
template <>
const RowKernels<double>& row_kernels<double>();

extern const RowKernels<float> kRowsScalar;
#ifndef MOXIE_SCALAR_ONLY
extern const RowKernels<float> kRowsAvx2;
extern const RowKernels<float> kRowsAvx512;
#endif

}  // namespace moxie::kernels
