// y[i, :] = t[:, ids[i]];   dt[:, ids[i]] += dy[i, :]
#include "ops/gather_columns.h"

#include <algorithm>

#include "ops/checks.h"

namespace moxie::ops {
namespace {

struct Attributes {
  std::vector<int64_t> ids;
  Shape table;
};

Tensor forward(Call& call, std::span<const Tensor> in) {
  check_float("gather_columns", in[0]);
  auto& attributes = *std::any_cast<Attributes>(&call.attributes);
  attributes.table = in[0].shape();
  check_ids("gather_columns", attributes.ids, in[0].cols());
  const int64_t width = in[0].cols();
  const int64_t d = in[0].rows();
  Tensor y = Tensor::empty({static_cast<int64_t>(attributes.ids.size()), d}, in[0].dtype());
  dispatch_float(y.dtype(), "gather_columns", [&](auto zero) {
    using T = decltype(zero);
    T* out = y.data<T>();
    for (const int64_t id : attributes.ids) {
      for (int64_t j = 0; j < d; ++j) *out++ = in[0].data<T>()[j * width + id];
    }
  });
  return y;
}

std::vector<Tensor> backward(Call& call, const Tensor& dy) {
  const auto& attributes = attributes_of<Attributes>(call);
  Tensor dt = Tensor::zeros(attributes.table, dy.dtype());
  const int64_t d = dy.cols();
  const int64_t width = dt.cols();
  dispatch_float(dy.dtype(), "gather_columns", [&](auto zero) {
    using T = decltype(zero);
    const T* g = dy.data<T>();
    for (const int64_t id : attributes.ids) {  // one order: ids may repeat
      for (int64_t j = 0; j < d; ++j) dt.data<T>()[j * width + id] += *g++;
    }
  });
  return {dt};
}

std::vector<Sample> samples(Rng& rng) {
  return {{"repeats", {random_normal(rng, {2, 3})}, Attributes{{2, 0, 2}, {}}, {true}}};
}

}  // namespace

extern const OpDef gather_columns_entry;
const OpDef gather_columns_entry{"picks columns by index, as rows", forward, backward, nullptr,
                                 samples};

Tensor gather_columns(const Tensor& table, std::vector<int64_t> ids) {
  return record(gather_columns_entry, {&table, 1}, Attributes{std::move(ids), {}});
}

}  // namespace moxie::ops
