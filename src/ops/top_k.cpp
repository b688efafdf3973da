#include "ops/top_k.h"

#include <algorithm>
#include <numeric>

#include "ops/checks.h"

namespace moxie::ops {
namespace {

Tensor forward(Call& call, std::span<const Tensor> in) {
  check_float("top_k", in[0]);
  const auto k = attributes_of<int64_t>(call);
  const int64_t d = in[0].cols();
  if (k < 1 || k > d) {
    fail(ErrorCode::kInvalidArgument, "top_k", "k = {} of rows {} wide; choose 1 to {}", k, d, d);
  }
  Tensor y = Tensor::empty({in[0].rows(), k}, DType::kI64);
  std::vector<int64_t> order(static_cast<size_t>(d));
  dispatch_float(in[0].dtype(), "top_k", [&](auto zero) {
    using T = decltype(zero);
    for (int64_t i = 0; i < in[0].rows(); ++i) {
      const T* x = in[0].data<T>() + i * d;
      std::iota(order.begin(), order.end(), 0);
      std::partial_sort(order.begin(), order.begin() + k, order.end(),
                        [x](int64_t a, int64_t b) { return x[a] != x[b] ? x[a] > x[b] : a < b; });
      std::copy_n(order.begin(), k, y.data<int64_t>() + i * k);
    }
  });
  return y;
}

std::vector<Sample> samples(Rng& rng) {
  return {{"2 of 5", {random_normal(rng, {3, 5})}, int64_t{2}, {false}}};
}

}  // namespace

extern const OpDef top_k_entry;
const OpDef top_k_entry{"columns of the k largest values", forward, nullptr, "output is an index",
                        samples};

Tensor top_k(const Tensor& x, int64_t k) {
  return record(top_k_entry, {&x, 1}, k);
}

}  // namespace moxie::ops
