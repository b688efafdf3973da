// y_j = exp(x_j - max) / sum_k exp(x_k - max);   dx_j = y_j (dy_j - sum_k dy_k y_k)
#include "ops/softmax.h"

#include <algorithm>

#include "base/threads.h"
#include "kernels/rowwise.h"
#include "ops/checks.h"

namespace moxie::ops {
namespace {

Tensor forward(Call& call, std::span<const Tensor> in) {
  check_float("softmax", in[0]);
  Tensor y = Tensor::empty(in[0].shape(), in[0].dtype());
  const int64_t d = y.cols();
  dispatch_float(y.dtype(), "softmax", [&](auto zero) {
    using T = decltype(zero);
    parallel_for(y.rows(), 1 + kElementGrain / 8 / std::max<int64_t>(1, d),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t i = begin; i < end; ++i) {
                     const T* x = in[0].data<T>() + i * d;
                     T* out = y.data<T>() + i * d;
                     const auto& rows = kernels::row_kernels<T>();
                     rows.scale(T{1} / rows.exp_sum(x, rows.max(x, d), out, d), out, d);
                   }
                 });
  });
  if (call.any_wanted()) call.saved = {y};
  return y;
}

std::vector<Tensor> backward(Call& call, const Tensor& dy) {
  const Tensor& y = call.saved[0];
  Tensor dx = Tensor::empty(y.shape(), y.dtype());
  const int64_t d = y.cols();
  dispatch_float(y.dtype(), "softmax", [&](auto zero) {
    using T = decltype(zero);
    for (int64_t i = 0; i < y.rows(); ++i) {
      const T* p = y.data<T>() + i * d;
      const T* g = dy.data<T>() + i * d;
      T* out = dx.data<T>() + i * d;
      T dot = 0;
      for (int64_t j = 0; j < d; ++j) dot += g[j] * p[j];
      for (int64_t j = 0; j < d; ++j) out[j] = p[j] * (g[j] - dot);
    }
  });
  return {dx};
}

std::vector<Sample> samples(Rng& rng) {
  return {{"rows", {random_normal(rng, {3, 6})}, {}, {true}},
          {"large values", {random_normal(rng, {2, 4}, 30)}, {}, {true}}};
}

}  // namespace

extern const OpDef softmax_entry;
const OpDef softmax_entry{"softmax over the last dimension", forward, backward, nullptr, samples};

Tensor softmax(const Tensor& x) {
  return record(softmax_entry, {&x, 1});
}

}  // namespace moxie::ops
