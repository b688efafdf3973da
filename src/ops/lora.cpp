#include "ops/lora.h"

#include "ops/checks.h"
#include "ops/low_rank.h"

namespace moxie::ops {
namespace {

struct Attributes {
  double scaling;
  bool overwrites = false;  // y's memory becomes z's
  kernels::Arithmetic arithmetic = kernels::Arithmetic::kF32;
};

Tensor forward(Call& call, std::span<const Tensor> in) {
  const Tensor &x = in[0], &y = in[1], &a = in[2], &b = in[3];
  const auto& attributes = attributes_of<Attributes>(call);
  const LowRankTerm term{a, b, attributes.scaling, attributes.arithmetic};
  check_float("lora", y);
  check_low_rank("lora", x, y.rows(), y.cols(), term);
  Tensor z = attributes.overwrites ? y : y.clone();
  const Tensor h = add_low_rank(x, term, z);
  if (call.any_wanted()) call.saved = {call.wanted[2] ? x : Tensor(), h, a, b};
  return z;
}

std::vector<Tensor> backward(Call& call, const Tensor& dz) {
  const Tensor &x = call.saved[0], &h = call.saved[1], &a = call.saved[2], &b = call.saved[3];
  const auto& attributes = attributes_of<Attributes>(call);
  const LowRankGradients found =
      low_rank_gradients(x, h, {a, b, attributes.scaling, attributes.arithmetic}, dz,
                         {call.wanted[0], call.wanted[2], call.wanted[3]});
  return {found.dx, dz, found.da, found.db};
}

std::vector<Sample> samples(Rng& rng) {
  const auto make = [&](int64_t n, int64_t in, int64_t out, int64_t r) -> std::vector<Tensor> {
    return {random_normal(rng, {n, in}), random_normal(rng, {n, out}), random_normal(rng, {r, in}),
            random_normal(rng, {out, r})};
  };
  return {{"all", make(6, 5, 7, 2), Attributes{0.5}, {true, true, true, true}},
          {"first layer", make(3, 4, 4, 3), Attributes{2.0}, {false, false, true, true}}};
}

}  // namespace

extern const OpDef lora_entry;
const OpDef lora_entry{"adds scaling * (x A^T) B^T", forward, backward, nullptr, samples};

Tensor lora(const Tensor& x, Tensor y, const Tensor& a, const Tensor& b, double scaling,
            kernels::Arithmetic arithmetic) {
  // Whoever holds y alone has not saved it anywhere: a copy of it would be for nothing.
  const bool overwrites = y.sole_owner();
  const Tensor inputs[] = {x, std::move(y), a, b};
  return record(lora_entry, inputs, Attributes{scaling, overwrites, arithmetic});
}

}  // namespace moxie::ops
