// r = 1 / sqrt(mean(x^2) + eps);   y_j = x_j r (c + w_j)
// dx_j = r (g_j - x_j r^2 mean_k(g_k x_k)) with g_j = dy_j (c + w_j);   dw_j = sum_rows dy_j x_j r
// (Zhang and Sennrich, 2019)
#include "ops/rms_norm.h"

#include "base/threads.h"
#include "kernels/rowwise.h"
#include "ops/checks.h"
#include "ops/kept.h"

namespace moxie::ops {
namespace {

struct Attributes {
  double epsilon, shift;
  bool keeps_bf16;
};

Tensor forward(Call& call, std::span<const Tensor> in) {
  const Tensor& x = in[0];
  const Tensor& w = in[1];
  check_float("rms_norm", x);
  const int64_t d = w.count();
  if (w.dtype() != x.dtype() || d == 0 || x.cols() % d != 0) {
    fail(ErrorCode::kInvalidArgument, "rms_norm",
         "the weight is {} {}, but the rows are {} wide in {}", name_of(w.dtype()),
         w.shape().to_string(), x.cols(), name_of(x.dtype()));
  }
  const auto& attributes = attributes_of<Attributes>(call);
  if (call.any_wanted()) call.saved = {kept(x, attributes.keeps_bf16), w};
  Tensor y = Tensor::empty(x.shape(), x.dtype());
  dispatch_float(x.dtype(), "rms_norm", [&](auto zero) {
    using T = decltype(zero);
    const T* weight = w.data<T>();
    const T shift = static_cast<T>(attributes.shift);
    parallel_for(x.count() / d, 1 + kElementGrain / d, [&](int64_t begin, int64_t end) {
      kernels::row_kernels<T>().rms_norm(x.data<T>() + begin * d, weight, shift,
                                         static_cast<T>(attributes.epsilon), end - begin, d,
                                         y.data<T>() + begin * d);
    });
  });
  return y;
}

std::vector<Tensor> backward(Call& call, const Tensor& dy) {
  const auto& attributes = attributes_of<Attributes>(call);
  const Tensor x = restored(call.saved[0]);
  const Tensor& w = call.saved[1];
  const int64_t d = w.count();
  Tensor dx = Tensor::empty(x.shape(), x.dtype());
  Tensor dw = call.wanted[1] ? Tensor::zeros(w.shape(), w.dtype()) : Tensor();
  dispatch_float(x.dtype(), "rms_norm", [&](auto zero) {
    using T = decltype(zero);
    const T shift = static_cast<T>(attributes.shift);
    const auto run = [&](int64_t begin, int64_t end) {
      kernels::row_kernels<T>().rms_norm_backward(
          x.data<T>() + begin * d, w.data<T>(), shift, static_cast<T>(attributes.epsilon),
          dy.data<T>() + begin * d, end - begin, d, dx.data<T>() + begin * d,
          dw.defined() ? dw.data<T>() : nullptr);
    };
    // The weight's gradient sums over rows: one thread, so that the order is one.
    if (dw.defined()) {
      run(0, x.count() / d);
    } else {
      parallel_for(x.count() / d, 1 + kElementGrain / d, run);
    }
  });
  return {dx, dw};
}

std::vector<Sample> samples(Rng& rng) {
  return {{"rows",
           {random_normal(rng, {3, 10}), random_normal(rng, {10})},
           Attributes{1e-5, 0, false},
           {true, true}},
          {"heads, shifted",
           {random_normal(rng, {2, 8}), random_normal(rng, {4})},
           Attributes{1e-6, 1, false},
           {true, true}}};
}

}  // namespace

extern const OpDef rms_norm_entry;
const OpDef rms_norm_entry{"root-mean-square norm with weights", forward, backward, nullptr,
                           samples};

Tensor rms_norm(const Tensor& x, const Tensor& weight, double epsilon, double shift,
                bool keeps_bf16) {
  const Tensor inputs[] = {x, weight};
  return record(rms_norm_entry, inputs, Attributes{epsilon, shift, keeps_bf16});
}

}  // namespace moxie::ops
