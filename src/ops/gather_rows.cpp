// y[i, :] = t[ids[i], :];   dt[ids[i], :] += dy[i, :]
#include "ops/gather_rows.h"

#include <algorithm>

#include "ops/checks.h"

namespace moxie::ops {
namespace {

struct Attributes {
  std::vector<int64_t> ids;
  Shape table;
};

Tensor forward(Call& call, std::span<const Tensor> in) {
  check_float("gather_rows", in[0]);
  auto& attributes = *std::any_cast<Attributes>(&call.attributes);
  attributes.table = in[0].shape();
  check_ids("gather_rows", attributes.ids, in[0].rows());
  const int64_t d = in[0].cols();
  Tensor y = Tensor::empty({static_cast<int64_t>(attributes.ids.size()), d}, in[0].dtype());
  dispatch_float(y.dtype(), "gather_rows", [&](auto zero) {
    using T = decltype(zero);
    T* out = y.data<T>();
    for (const int64_t id : attributes.ids) out = std::copy_n(in[0].data<T>() + id * d, d, out);
  });
  return y;
}

std::vector<Tensor> backward(Call& call, const Tensor& dy) {
  const auto& attributes = attributes_of<Attributes>(call);
  const bool adds = call.gathered[0].defined();
  Tensor dt = call.gradient_of(0, attributes.table, dy.dtype());
  const int64_t d = dy.cols();
  dispatch_float(dy.dtype(), "gather_rows", [&](auto zero) {
    using T = decltype(zero);
    if (!adds) std::fill_n(dt.data<T>(), dt.count(), T{0});
    for (size_t i = 0; i < attributes.ids.size(); ++i) {  // one order: ids may repeat
      T* row = dt.data<T>() + attributes.ids[i] * d;
      const T* g = dy.data<T>() + static_cast<int64_t>(i) * d;
      for (int64_t j = 0; j < d; ++j) row[j] += g[j];
    }
  });
  return {dt};
}

std::vector<Sample> samples(Rng& rng) {
  return {{"repeats", {random_normal(rng, {4, 3})}, Attributes{{2, 0, 2}, {}}, {true}}};
}

}  // namespace

extern const OpDef gather_rows_entry;
const OpDef gather_rows_entry{"picks rows by index", forward, backward, nullptr, samples};

Tensor gather_rows(const Tensor& table, std::vector<int64_t> ids) {
  return record(gather_rows_entry, {&table, 1}, Attributes{std::move(ids), {}});
}

}  // namespace moxie::ops
