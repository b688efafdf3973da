#pragma once
// Scalar activations and their derivatives, shared by silu, gelu and swiglu.
#include <cmath>
#include <string_view>

namespace moxie::ops {

enum class Activation { kSilu, kGeluTanh, kGelu };


// silu: x s(x), s the logistic function. gelu_tanh: Hendrycks and Gimpel's tanh form (2016).
// gelu: x Phi(x) with the error function.
template <class T>
T activate(Activation kind, T x) {
  if (kind == Activation::kSilu) return x / (T{1} + std::exp(-x));
  if (kind == Activation::kGelu) return T{0.5} * x * (T{1} + std::erf(x * T{0.70710678118654752}));
  const T inner = T{0.79788456080286536} * (x + T{0.044715} * x * x * x);
  return T{0.5} * x * (T{1} + std::tanh(inner));
}

template <class T>
T slope(Activation kind, T x) {
  if (kind == Activation::kSilu) {
    const T s = T{1} / (T{1} + std::exp(-x));
    return s * (T{1} + x * (T{1} - s));
  }
  if (kind == Activation::kGelu) {
    const T phi = T{0.39894228040143268} * std::exp(T{-0.5} * x * x);
    return T{0.5} * (T{1} + std::erf(x * T{0.70710678118654752})) + x * phi;
  }
  const T t = std::tanh(T{0.79788456080286536} * (x + T{0.044715} * x * x * x));
  const T inner_slope = T{0.79788456080286536} * (T{1} + T{0.134145} * x * x);
  return T{0.5} * (T{1} + t) + T{0.5} * x * (T{1} - t * t) * inner_slope;
}

}  // namespace moxie::ops
