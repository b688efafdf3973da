#include "kernels/rowwise.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/cpu.h"

// The reference: the formulas as they stand, with libm's functions, in float and double.
namespace moxie::kernels {
namespace {

template <class T>
T activation(Activation kind, T x) {
  if (kind == Activation::kSilu) return x / (T{1} + std::exp(-x));
  if (kind == Activation::kGelu) return T{0.5} * x * (T{1} + std::erf(x * T(0.70710678118654752)));
  const T inner = T(0.79788456080286536) * (x + T(0.044715) * x * x * x);
  return T{0.5} * x * (T{1} + std::tanh(inner));
}

template <class T>
T slope(Activation kind, T x) {
  if (kind == Activation::kSilu) {
    const T s = T{1} / (T{1} + std::exp(-x));
    return s * (T{1} + x * (T{1} - s));
  }
  if (kind == Activation::kGelu) {
    const T density = T(0.39894228040143268) * std::exp(T(-0.5) * x * x);
    return T{0.5} * (T{1} + std::erf(x * T(0.70710678118654752))) + x * density;
  }
  const T t = std::tanh(T(0.79788456080286536) * (x + T(0.044715) * x * x * x));
  const T inner = T(0.79788456080286536) * (T{1} + T(0.134145) * x * x);
  return T{0.5} * (T{1} + t) + T{0.5} * x * (T{1} - t * t) * inner;
}

template <class T>
struct Reference {
  static void exp(const T* x, T* y, int64_t n) {
    for (int64_t i = 0; i < n; ++i) y[i] = std::exp(x[i]);
  }
  static T max(const T* x, int64_t n) {
    T most = -std::numeric_limits<T>::infinity();
    for (int64_t i = 0; i < n; ++i) most = std::max(most, x[i]);
    return most;
  }
  static T sum(const T* x, int64_t n) {
    T total = 0;
    for (int64_t i = 0; i < n; ++i) total += x[i];
    return total;
  }
  static T value(T x) { return x; }
  static T value(BFloat16 x) { return to_float(x); }
  static T value(Float16 x) { return to_float(x); }
  template <class R>
  static T dot(const T* x, const R* y, int64_t n) {
    T total = 0;
    for (int64_t i = 0; i < n; ++i) total += x[i] * value(y[i]);
    return total;
  }
  static double square_sum(const T* x, int64_t n) {
    double total = 0;
    for (int64_t i = 0; i < n; ++i) total += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    return total;
  }
  static T exp_sum(const T* x, T shift, T* y, int64_t n) {
    T total = 0;
    for (int64_t i = 0; i < n; ++i) total += y[i] = std::exp(x[i] - shift);
    return total;
  }
  static void softcap(const T* x, T cap, T* y, int64_t n) {
    for (int64_t i = 0; i < n; ++i) y[i] = cap * std::tanh(x[i] / cap);
  }
  static void scale(T factor, T* y, int64_t n) {
    for (int64_t i = 0; i < n; ++i) y[i] *= factor;
  }
  static void add_scaled(const T* x, T factor, T* y, int64_t n) {
    for (int64_t i = 0; i < n; ++i) y[i] += factor * x[i];
  }
  template <class R>
  static void dots(const T* x, const R* rows, int64_t stride, int64_t n, int64_t d, T factor,
                   T* y) {
    for (int64_t j = 0; j < n; ++j) y[j] = factor * dot(x, rows + j * stride, d);
  }
  template <class R>
  static void group_dots(const T* x, const SharedKeys& shape, const R* rows, T factor, T* y) {
    const int64_t n = shape.n, d = shape.d;
    for (int64_t h = 0; h < shape.heads(); ++h)
      dots(x + h * d, rows + h / shape.group * d, shape.width(), n, d, factor, y + h * n);
  }
  template <class R>
  static void group_mix(const T* w, const SharedKeys& shape, const R* rows, T* y) {
    std::fill_n(y, shape.heads() * shape.d, T{0});
    for (int64_t h = 0; h < shape.heads(); ++h, w += shape.n, y += shape.d) {
      const R* row = rows + h / shape.group * shape.d;
      for (int64_t j = 0; j < shape.n; ++j, row += shape.width()) {
        for (int64_t i = 0; i < shape.d; ++i) y[i] += w[j] * value(row[i]);
      }
    }
  }
  static void widen(const Float16* rows, int64_t stride, int64_t n, int64_t d, T* y) {
    for (int64_t j = 0; j < n; ++j) {
      for (int64_t i = 0; i < d; ++i) y[j * d + i] = value(rows[j * stride + i]);
    }
  }
  static void narrow(const T* x, Float16* y, int64_t n) {
    for (int64_t i = 0; i < n; ++i)
      y[i] = to_float16(static_cast<float>(std::clamp(x[i], T{-65504}, T{65504})));
  }
  static void widen_bf16(const BFloat16* x, T* y, int64_t n) {
    for (int64_t i = 0; i < n; ++i) y[i] = value(x[i]);
  }
  static void narrow_bf16(const T* x, BFloat16* y, int64_t n) {
    for (int64_t i = 0; i < n; ++i) y[i] = to_bfloat16(static_cast<float>(x[i]));
  }
  static void activate(Activation kind, const T* x, T* y, int64_t n) {
    for (int64_t i = 0; i < n; ++i) y[i] = activation(kind, x[i]);
  }
  static void activate_backward(Activation kind, const T* x, const T* dy, T* dx, int64_t n) {
    for (int64_t i = 0; i < n; ++i) dx[i] = dy[i] * slope(kind, x[i]);
  }
  static void gate(Activation kind, const T* g, const T* u, T* y, int64_t n) {
    for (int64_t i = 0; i < n; ++i) y[i] = activation(kind, g[i]) * u[i];
  }
  static void gate_backward(Activation kind, const T* g, const T* u, const T* dy, T* dg, T* du,
                            T* y, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
      const T d = dy[i], value = activation(kind, g[i]);
      dg[i] = d * u[i] * slope(kind, g[i]);
      du[i] = d * value;
      if (y != nullptr) y[i] = value * u[i];
    }
  }
  static void rms_norm(const T* x, const T* w, T shift, T epsilon, int64_t rows, int64_t d, T* y) {
    for (int64_t i = 0; i < rows; ++i, x += d, y += d) {
      const T r = T{1} / std::sqrt(dot(x, x, d) / static_cast<T>(d) + epsilon);
      for (int64_t j = 0; j < d; ++j) y[j] = x[j] * r * (shift + w[j]);
    }
  }
  static void rms_norm_backward(const T* x, const T* w, T shift, T epsilon, const T* dy,
                                int64_t rows, int64_t d, T* dx, T* dw) {
    for (int64_t i = 0; i < rows; ++i, x += d, dy += d, dx += d) {
      const T r = T{1} / std::sqrt(dot(x, x, d) / static_cast<T>(d) + epsilon);
      T along = 0;
      for (int64_t j = 0; j < d; ++j) along += dy[j] * (shift + w[j]) * x[j];
      const T back = along * r * r / static_cast<T>(d);
      for (int64_t j = 0; j < d; ++j) dx[j] = r * (dy[j] * (shift + w[j]) - x[j] * back);
      if (dw == nullptr) continue;
      for (int64_t j = 0; j < d; ++j) dw[j] += dy[j] * x[j] * r;
    }
  }
  static void soften(T* s, int64_t stride, int64_t rows, int64_t n, T* most, T* total, T* shrink) {
    for (int64_t r = 0; r < rows; ++r, s += stride) {
      const T top = std::max(most[r], max(s, n));
      const bool is_blind = top == -std::numeric_limits<T>::infinity();
      shrink[r] = is_blind ? T{1} : std::exp(most[r] - top);
      total[r] = total[r] * shrink[r] + exp_sum(s, is_blind ? T{0} : top, s, n);
      most[r] = top;
    }
  }
  static void score_gradient(T lse, T delta, T cap, T* s, T* dp, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
      const T t = cap > 0 ? std::tanh(s[i] / cap) : T{0};
      s[i] = std::exp((cap > 0 ? cap * t : s[i]) - lse);
      dp[i] = s[i] * (dp[i] - delta) * (T{1} - t * t);
    }
  }
  static void adamw(const AdamwStep<T>& step, const T* gradient, T* value, T* mean, T* square,
                    int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
      const T g = step.factor * gradient[i];
      mean[i] += step.mix1 * (g - mean[i]);
      square[i] = square[i] * step.beta2 + step.mix2 * g * g;
      value[i] = value[i] * step.keep +
                 step.size * mean[i] / (std::sqrt(square[i]) / step.root2 + step.epsilon);
    }
  }

  static constexpr RowKernels<T> kTable{exp,
                                        max,
                                        sum,
                                        dot<T>,
                                        square_sum,
                                        exp_sum,
                                        softcap,
                                        scale,
                                        add_scaled,
                                        dots<T>,
                                        dots<BFloat16>,
                                        dots<Float16>,
                                        group_dots<T>,
                                        group_dots<Float16>,
                                        group_mix<T>,
                                        group_mix<Float16>,
                                        widen,
                                        narrow,
                                        widen_bf16,
                                        narrow_bf16,
                                        activate,
                                        activate_backward,
                                        gate,
                                        gate_backward,
                                        rms_norm,
                                        rms_norm_backward,
                                        soften,
                                        score_gradient,
                                        adamw};
};

}  // namespace

const RowKernels<float> kRowsScalar = Reference<float>::kTable;

template <>
const RowKernels<float>& row_kernels<float>() {
#ifndef MOXIE_SCALAR_ONLY
  if (active_isa() == Isa::kAvx512) return kRowsAvx512;
  if (active_isa() == Isa::kAvx2) return kRowsAvx2;
#endif
  return kRowsScalar;
}

template <>
const RowKernels<double>& row_kernels<double>() {
  static constexpr RowKernels<double> kTable = Reference<double>::kTable;
  return kTable;
}

}  // namespace moxie::kernels
