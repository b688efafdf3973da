// y_i = x_i m_i / (1 - p), m_i = [u_i >= p], u_i from Philox;   dx_i = dy_i m_i / (1 - p)
#include "ops/dropout.h"

#include "base/threads.h"
#include "ops/checks.h"

namespace moxie::ops {
namespace {

struct Attributes {
  double p;
  uint64_t seed, stream;
};

Tensor masked(const Tensor& x, const Attributes& a) {
  Tensor y = Tensor::empty(x.shape(), x.dtype());
  const auto threshold = static_cast<uint64_t>(a.p * 4294967296.0);
  dispatch_float(x.dtype(), "dropout", [&](auto zero) {
    using T = decltype(zero);
    const T keep = static_cast<T>(1.0 / (1.0 - a.p));
    const int64_t groups = (x.count() + 3) / 4;  // one Philox call gives four words
    parallel_for(groups, kElementGrain / 16, [&](int64_t begin, int64_t end) {
      for (int64_t g = begin; g < end; ++g) {
        const auto word =
            philox4x32({static_cast<uint32_t>(g), static_cast<uint32_t>(g >> 32),
                        static_cast<uint32_t>(a.stream), static_cast<uint32_t>(a.stream >> 32)},
                       a.seed);
        for (int64_t k = 0; k < 4 && 4 * g + k < x.count(); ++k) {
          const int64_t i = 4 * g + k;
          y.data<T>()[i] = word[static_cast<size_t>(k)] >= threshold ? x.data<T>()[i] * keep : T{0};
        }
      }
    });
  });
  return y;
}

Tensor forward(Call& call, std::span<const Tensor> in) {
  check_float("dropout", in[0]);
  const auto& attributes = attributes_of<Attributes>(call);
  if (!(attributes.p >= 0 && attributes.p < 1)) {
    fail(ErrorCode::kInvalidArgument, "dropout", "p = {} is out of range; choose 0 <= p < 1",
         attributes.p);
  }
  return masked(in[0], attributes);
}

std::vector<Tensor> backward(Call& call, const Tensor& dy) {
  return {masked(dy, attributes_of<Attributes>(call))};
}

std::vector<Sample> samples(Rng& rng) {
  return {{"p = 0.3", {random_normal(rng, {5, 7})}, Attributes{0.3, 42, 7}, {true}}};
}

}  // namespace

extern const OpDef dropout_entry;
const OpDef dropout_entry{"dropout with a counter-based mask", forward, backward, nullptr, samples};

Tensor dropout(const Tensor& x, double p, uint64_t seed, uint64_t stream) {
  return record(dropout_entry, {&x, 1}, Attributes{p, seed, stream});
}

}  // namespace moxie::ops
