// y[i, j] = x[i, j] + b[j];   dx = dy, db[j] = sum_i dy[i, j]
#include "ops/add_bias.h"

#include "base/threads.h"
#include "ops/checks.h"

namespace moxie::ops {
namespace {

Tensor forward(Call& call, std::span<const Tensor> in) {
  check_float("add_bias", in[0]);
  check_vector("add_bias", in[1], in[0]);
  call.attributes = in[1].shape();
  Tensor y = Tensor::empty(in[0].shape(), in[0].dtype());
  const int64_t d = y.cols();
  dispatch_float(y.dtype(), "add_bias", [&](auto zero) {
    using T = decltype(zero);
    const T* x = in[0].data<T>();
    const T* b = in[1].data<T>();
    T* out = y.data<T>();
    parallel_for(y.rows(), 1 + kElementGrain / d, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        for (int64_t j = 0; j < d; ++j) out[i * d + j] = x[i * d + j] + b[j];
      }
    });
  });
  return y;
}

std::vector<Tensor> backward(Call& call, const Tensor& dy) {
  if (!call.wanted[1]) return {dy, {}};
  const int64_t d = dy.cols();
  const int64_t n = dy.rows();
  Tensor db = Tensor::zeros(attributes_of<Shape>(call), dy.dtype());
  dispatch_float(dy.dtype(), "add_bias", [&](auto zero) {
    using T = decltype(zero);
    const T* g = dy.data<T>();
    T* out = db.data<T>();
    parallel_for(d, 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = begin; j < end; ++j) out[j] += g[i * d + j];
      }
    });
  });
  return {dy, db};
}

std::vector<Sample> samples(Rng& rng) {
  return {{"rows", {random_normal(rng, {4, 6}), random_normal(rng, {6})}, {}, {true, true}}};
}

}  // namespace

extern const OpDef add_bias_entry;
const OpDef add_bias_entry{"adds a vector to every row", forward, backward, nullptr, samples};

Tensor add_bias(const Tensor& x, const Tensor& bias) {
  const Tensor inputs[] = {x, bias};
  return record(add_bias_entry, inputs);
}

}  // namespace moxie::ops
