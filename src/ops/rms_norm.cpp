// r = 1 / sqrt(mean(x^2) + eps);   y_j = x_j r (c + w_j)
// dx_j = r (g_j - x_j r^2 mean_k(g_k x_k)) with g_j = dy_j (c + w_j);   dw_j = sum_rows dy_j x_j r
// (Zhang and Sennrich, 2019)
#include "ops/rms_norm.h"

#include <cmath>

#include "base/threads.h"
#include "ops/checks.h"

namespace moxie::ops {
namespace {

struct Attributes {
  double epsilon, shift;
};

template <class T>
T inverse_rms(const T* x, int64_t d, double epsilon) {
  // Eight partial sums: vectorises, and rounds less than one long chain.
  T part[8] = {};
  int64_t j = 0;
  for (; j + 8 <= d; j += 8) {
    for (int64_t k = 0; k < 8; ++k) part[k] += x[j + k] * x[j + k];
  }
  for (; j < d; ++j) part[0] += x[j] * x[j];
  double total = 0;
  for (const T value : part) total += static_cast<double>(value);
  return static_cast<T>(1.0 / std::sqrt(total / static_cast<double>(d) + epsilon));
}

Tensor forward(Call& call, std::span<const Tensor> in) {
  const Tensor& x = in[0];
  const Tensor& w = in[1];
  check_float("rms_norm", x);
  const int64_t d = w.count();
  if (w.dtype() != x.dtype() || d == 0 || x.cols() % d != 0) {
    fail(ErrorCode::kInvalidArgument, "rms_norm", "the weight is {} {}, but the rows are {} wide in {}",
         name_of(w.dtype()), w.shape().to_string(), x.cols(), name_of(x.dtype()));
  }
  const auto& attributes = attributes_of<Attributes>(call);
  if (call.any_wanted()) call.saved = {x, w};
  Tensor y = Tensor::empty(x.shape(), x.dtype());
  dispatch_float(x.dtype(), "rms_norm", [&](auto zero) {
    using T = decltype(zero);
    const T* weight = w.data<T>();
    const T shift = static_cast<T>(attributes.shift);
    parallel_for(x.count() / d, 1 + kElementGrain / d, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const T* row = x.data<T>() + i * d;
        T* out = y.data<T>() + i * d;
        const T r = inverse_rms(row, d, attributes.epsilon);
        for (int64_t j = 0; j < d; ++j) out[j] = row[j] * r * (shift + weight[j]);
      }
    });
  });
  return y;
}

template <class T>
void weight_gradient(const Tensor& x, const Tensor& dy, double epsilon, Tensor& dw) {
  const int64_t d = dw.count();
  const int64_t n = x.count() / d;
  std::vector<T> r(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) r[static_cast<size_t>(i)] = inverse_rms(x.data<T>() + i * d, d, epsilon);
  parallel_for(d, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = 0; i < n; ++i) {
      const T* row = x.data<T>() + i * d;
      const T* g = dy.data<T>() + i * d;
      for (int64_t j = begin; j < end; ++j) dw.data<T>()[j] += g[j] * row[j] * r[static_cast<size_t>(i)];
    }
  });
}

std::vector<Tensor> backward(Call& call, const Tensor& dy) {
  const auto& attributes = attributes_of<Attributes>(call);
  const Tensor& x = call.saved[0];
  const Tensor& w = call.saved[1];
  const int64_t d = w.count();
  Tensor dx;
  Tensor dw;
  dispatch_float(x.dtype(), "rms_norm", [&](auto zero) {
    using T = decltype(zero);
    if (call.wanted[1]) {
      dw = Tensor::zeros(w.shape(), w.dtype());
      weight_gradient<T>(x, dy, attributes.epsilon, dw);
    }
    if (!call.wanted[0]) return;
    dx = Tensor::empty(x.shape(), x.dtype());
    const T* weight = w.data<T>();
    const T shift = static_cast<T>(attributes.shift);
    parallel_for(x.count() / d, 1 + kElementGrain / d, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const T* row = x.data<T>() + i * d;
        const T* g = dy.data<T>() + i * d;
        T* out = dx.data<T>() + i * d;
        const T r = inverse_rms(row, d, attributes.epsilon);
        T part[8] = {};
        int64_t j = 0;
        for (; j + 8 <= d; j += 8) {
          for (int64_t k = 0; k < 8; ++k) part[k] += g[j + k] * (shift + weight[j + k]) * row[j + k];
        }
        for (; j < d; ++j) part[0] += g[j] * (shift + weight[j]) * row[j];
        T dot = 0;
        for (const T value : part) dot += value;
        const T back = dot * r * r / static_cast<T>(d);
        for (int64_t m = 0; m < d; ++m) out[m] = r * (g[m] * (shift + weight[m]) - row[m] * back);
      }
    });
  });
  return {dx, dw};
}

std::vector<Sample> samples(Rng& rng) {
  return {{"rows", {random_normal(rng, {3, 10}), random_normal(rng, {10})}, Attributes{1e-5, 0}, {true, true}},
          {"heads, shifted", {random_normal(rng, {2, 8}), random_normal(rng, {4})}, Attributes{1e-6, 1}, {true, true}}};
}

}  // namespace

extern const OpDef rms_norm_entry;
const OpDef rms_norm_entry{"root-mean-square norm with weights", forward, backward, nullptr, samples};

Tensor rms_norm(const Tensor& x, const Tensor& weight, double epsilon, double shift) {
  const Tensor inputs[] = {x, weight};
  return record(rms_norm_entry, inputs, Attributes{epsilon, shift});
}

}  // namespace moxie::ops
