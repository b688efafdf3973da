// h = (x - mean) r, r = 1 / sqrt(var + eps);   y = h w + b
// dx = r (g - mean(g) - h mean(g h)) with g = dy w;   dw = sum_rows dy h;   db = sum_rows dy
#include "ops/layer_norm.h"

#include <cmath>

#include "base/threads.h"
#include "ops/checks.h"

namespace moxie::ops {
namespace {

struct Moments {
  double mean, inverse;
};

template <class T>
Moments moments(const T* x, int64_t d, double epsilon) {
  double mean = 0;
  for (int64_t j = 0; j < d; ++j) mean += static_cast<double>(x[j]);
  mean /= static_cast<double>(d);
  double variance = 0;
  for (int64_t j = 0; j < d; ++j) {
    const double c = static_cast<double>(x[j]) - mean;
    variance += c * c;
  }
  return {mean, 1.0 / std::sqrt(variance / static_cast<double>(d) + epsilon)};
}

Tensor forward(Call& call, std::span<const Tensor> in) {
  check_float("layer_norm", in[0]);
  check_vector("layer_norm", in[1], in[0]);
  check_vector("layer_norm", in[2], in[0]);
  const auto epsilon = attributes_of<double>(call);
  if (call.any_wanted()) call.saved = {in[0], in[1]};
  const Tensor& x = in[0];
  Tensor y = Tensor::empty(x.shape(), x.dtype());
  const int64_t d = x.cols();
  dispatch_float(x.dtype(), "layer_norm", [&](auto zero) {
    using T = decltype(zero);
    parallel_for(x.rows(), 1 + kElementGrain / d, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const T* row = x.data<T>() + i * d;
        const Moments m = moments(row, d, epsilon);
        for (int64_t j = 0; j < d; ++j) {
          const double h = (static_cast<double>(row[j]) - m.mean) * m.inverse;
          y.data<T>()[i * d + j] = static_cast<T>(h) * in[1].data<T>()[j] + in[2].data<T>()[j];
        }
      }
    });
  });
  return y;
}

template <class T>
void backward_rows(const Tensor& x, const Tensor& w, const Tensor& dy, double epsilon, Tensor& dx,
                   Tensor& dw, Tensor& db) {
  const int64_t d = x.cols();
  std::vector<double> h(static_cast<size_t>(d));
  for (int64_t i = 0; i < x.rows(); ++i) {
    const T* row = x.data<T>() + i * d;
    const T* g = dy.data<T>() + i * d;
    const Moments m = moments(row, d, epsilon);
    double mean_g = 0;
    double mean_gh = 0;
    for (int64_t j = 0; j < d; ++j) {
      const double hj = (static_cast<double>(row[j]) - m.mean) * m.inverse;
      const double gj = static_cast<double>(g[j]) * static_cast<double>(w.data<T>()[j]);
      h[static_cast<size_t>(j)] = hj;
      mean_g += gj;
      mean_gh += gj * hj;
      dw.data<T>()[j] += g[j] * static_cast<T>(hj);
      db.data<T>()[j] += g[j];
    }
    mean_g /= static_cast<double>(d);
    mean_gh /= static_cast<double>(d);
    for (int64_t j = 0; j < d; ++j) {
      const double gj = static_cast<double>(g[j]) * static_cast<double>(w.data<T>()[j]);
      dx.data<T>()[i * d + j] =
          static_cast<T>(m.inverse * (gj - mean_g - h[static_cast<size_t>(j)] * mean_gh));
    }
  }
}

std::vector<Tensor> backward(Call& call, const Tensor& dy) {
  const Tensor& x = call.saved[0];
  const Tensor& w = call.saved[1];
  Tensor dx = Tensor::empty(x.shape(), x.dtype());
  Tensor dw = Tensor::zeros(w.shape(), w.dtype());
  Tensor db = Tensor::zeros(w.shape(), w.dtype());
  dispatch_float(x.dtype(), "layer_norm", [&](auto zero) {
    backward_rows<decltype(zero)>(x, w, dy, attributes_of<double>(call), dx, dw, db);
  });
  return {dx, dw, db};
}

std::vector<Sample> samples(Rng& rng) {
  return {{"rows",
           {random_normal(rng, {3, 7}), random_normal(rng, {7}), random_normal(rng, {7})},
           1e-5,
           {true, true, true}}};
}

}  // namespace

extern const OpDef layer_norm_entry;
const OpDef layer_norm_entry{"layer norm with weight and bias", forward, backward, nullptr,
                             samples};

Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double epsilon) {
  const Tensor inputs[] = {x, weight, bias};
  return record(layer_norm_entry, inputs, epsilon);
}

}  // namespace moxie::ops
