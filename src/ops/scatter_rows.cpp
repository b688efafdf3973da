// y = 0; y[ids[i], :] += x[i, :];   dx[i, :] = dy[ids[i], :]
#include "ops/scatter_rows.h"

#include <algorithm>

#include "ops/checks.h"

namespace moxie::ops {
namespace {

struct Attributes {
  std::vector<int64_t> ids;
  int64_t rows;
};

Tensor forward(Call& call, std::span<const Tensor> in) {
  check_float("scatter_rows", in[0]);
  const auto& attributes = attributes_of<Attributes>(call);
  check_ids("scatter_rows", attributes.ids, attributes.rows);
  if (static_cast<int64_t>(attributes.ids.size()) != in[0].rows()) {
    fail(ErrorCode::kInvalidArgument, "scatter_rows", "{} indices for {} rows",
         attributes.ids.size(), in[0].rows());
  }
  const int64_t d = in[0].cols();
  Tensor y = Tensor::zeros({attributes.rows, d}, in[0].dtype());
  dispatch_float(y.dtype(), "scatter_rows", [&](auto zero) {
    using T = decltype(zero);
    for (size_t i = 0; i < attributes.ids.size(); ++i) {
      const T* from = in[0].data<T>() + static_cast<int64_t>(i) * d;
      T* to = y.data<T>() + attributes.ids[i] * d;
      for (int64_t j = 0; j < d; ++j) to[j] += from[j];
    }
  });
  return y;
}

std::vector<Tensor> backward(Call& call, const Tensor& dy) {
  const auto& attributes = attributes_of<Attributes>(call);
  const int64_t d = dy.cols();
  Tensor dx = Tensor::empty({static_cast<int64_t>(attributes.ids.size()), d}, dy.dtype());
  dispatch_float(dy.dtype(), "scatter_rows", [&](auto zero) {
    using T = decltype(zero);
    T* out = dx.data<T>();
    for (const int64_t id : attributes.ids) out = std::copy_n(dy.data<T>() + id * d, d, out);
  });
  return {dx};
}

std::vector<Sample> samples(Rng& rng) {
  return {{"repeats and gaps", {random_normal(rng, {3, 2})}, Attributes{{4, 1, 4}, 5}, {true}}};
}

}  // namespace

extern const OpDef scatter_rows_entry;
const OpDef scatter_rows_entry{"adds rows into a zero matrix by index", forward, backward, nullptr,
                               samples};

Tensor scatter_rows(const Tensor& x, std::vector<int64_t> ids, int64_t rows) {
  return record(scatter_rows_entry, {&x, 1}, Attributes{std::move(ids), rows});
}

}  // namespace moxie::ops
