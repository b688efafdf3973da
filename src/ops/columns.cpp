// y = x[:, begin:end];   dx = 0 but for dx[:, begin:end] = dy
#include "ops/columns.h"

#include <algorithm>

#include "ops/checks.h"

namespace moxie::ops {
namespace {

struct Attributes {
  int64_t begin, end, width;
};

Tensor forward(Call& call, std::span<const Tensor> in) {
  check_float("columns", in[0]);
  auto& a = *std::any_cast<Attributes>(&call.attributes);
  a.width = in[0].cols();
  if (a.begin < 0 || a.begin > a.end || a.end > a.width) {
    fail(ErrorCode::kInvalidArgument, "columns", "[{}, {}) is outside rows {} wide", a.begin, a.end,
         a.width);
  }
  Tensor y = Tensor::empty({in[0].rows(), a.end - a.begin}, in[0].dtype());
  dispatch_float(y.dtype(), "columns", [&](auto zero) {
    using T = decltype(zero);
    for (int64_t i = 0; i < y.rows(); ++i) {
      std::copy_n(in[0].data<T>() + i * a.width + a.begin, y.cols(), y.data<T>() + i * y.cols());
    }
  });
  return y;
}

std::vector<Tensor> backward(Call& call, const Tensor& dy) {
  const auto& a = attributes_of<Attributes>(call);
  Tensor dx = Tensor::zeros({dy.rows(), a.width}, dy.dtype());
  dispatch_float(dy.dtype(), "columns", [&](auto zero) {
    using T = decltype(zero);
    for (int64_t i = 0; i < dy.rows(); ++i) {
      std::copy_n(dy.data<T>() + i * dy.cols(), dy.cols(), dx.data<T>() + i * a.width + a.begin);
    }
  });
  return {dx};
}

std::vector<Sample> samples(Rng& rng) {
  return {{"middle", {random_normal(rng, {3, 6})}, Attributes{1, 4, 0}, {true}}};
}

}  // namespace

extern const OpDef columns_entry;
const OpDef columns_entry{"a range of columns", forward, backward, nullptr, samples};

Tensor columns(const Tensor& x, int64_t begin, int64_t end) {
  return record(columns_entry, {&x, 1}, Attributes{begin, end, 0});
}

}  // namespace moxie::ops
