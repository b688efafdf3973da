// z = x W^T + s h B^T, h = x A^T
// dh = s dz B, dx = dz W + dh A, dB = s dz^T h, dA = dh^T x
#include "ops/adapted_linear.h"

#include <span>
#include <utility>

#include "ops/checks.h"
#include "ops/kept.h"
#include "ops/low_rank.h"
#include "quant/low_rank.h"

namespace moxie::ops {
namespace {

using kernels::PackedRows;

struct Attributes {
  quant::Weight weight;
  double scaling;
  std::shared_ptr<PackedRows> packed;  // null: see adapted_linear()
};

bool runs_int8(const quant::Weight& weight, const Tensor& rows, int64_t rank) {
  return rows.dtype() == DType::kF32 && takes_lora_in_int8(weight, rows.rows()) &&
         rank <= kernels::ThinTerm::kMostRank;
}

// z of rows that are not packed; returns h. In integers the LoRA's products are so too.
Tensor forward_rows(const quant::Weight& weight, const Tensor& x, const LowRankTerm& term,
                    const Tensor& z) {
  std::shared_ptr<const quant::LowRankCopy> copy;  // null also where there can be none
  if (runs_int8(weight, x, term.a.rows())) {
    copy = quant::LowRankCopy::make(term.a.data<float>(), term.b.data<float>(), term.a.rows(),
                                    x.cols(), z.cols(), term.scaling);
  }
  if (copy == nullptr) {
    dispatch_float(x.dtype(), "adapted_linear", [&](auto zero) {
      using T = decltype(zero);
      weight.matmul(x.data<T>(), x.rows(), z.data<T>());
    });
    return add_low_rank(x, term, z);
  }
  Tensor h = Tensor::empty({x.rows(), term.a.rows()}, DType::kF32);
  const quant::Weight::Product product{weight, z.data<float>(), copy.get(), h.data<float>()};
  quant::Weight::matmul_together({&product, 1}, x.data<float>(), x.rows());
  for (float& number : h.span<float>()) number *= copy->unit();
  return h;
}

Tensor forward(Call& call, std::span<const Tensor> in) {
  const Tensor &x = in[0], &a = in[1], &b = in[2];
  const auto& attributes = attributes_of<Attributes>(call);
  const quant::Weight& weight = attributes.weight;
  const double scaling = attributes.scaling;
  const auto& packed = attributes.packed;
  check_low_rank("adapted_linear", x, x.rows(), weight.rows(), {a, b, scaling});
  Tensor z = Tensor::empty({x.rows(), weight.rows()}, x.dtype());
  Tensor h;
  if (packed != nullptr) {
    MOXIE_ASSERT(packed->rows() == x.rows() && packed->cols() == x.cols() &&
                 packed->spare() == a.rows() && weight.runs_packed(x.rows()) &&
                 packed->kind() == weight.tiles(x.rows()));
    h = packed_inner(*packed, a);
    packed->set_spare(h.data<float>(), static_cast<float>(scaling));
    weight.matmul(*packed, z.data<float>(), b.data<float>());
  } else {
    h = forward_rows(weight, x, {a, b, scaling}, z);
  }
  if (call.any_wanted()) {
    call.saved = {packed == nullptr && call.wanted[1] ? x : Tensor(), kept(h, packed != nullptr), a,
                  b};
  }
  return z;
}

std::vector<Tensor> backward_packed(Call& call, const Tensor& dz) {
  const Tensor &h = call.saved[1], &a = call.saved[2], &b = call.saved[3];
  const auto& attributes = attributes_of<Attributes>(call);
  const double scaling = attributes.scaling;
  Tensor dx;
  Tensor da;
  Tensor db;
  PackedRows rows(dz.rows(), dz.cols(), a.rows(), attributes.packed->kind());
  rows.pack(dz.data<float>(), dz.cols(), 1);
  if (call.wanted[2]) db = packed_gradient_b(rows, restored(h), scaling);
  if (!call.wanted[0] && !call.wanted[1]) return {dx, da, db};
  const Tensor dh = packed_gradient_inner(rows, b, scaling);
  if (call.wanted[1]) da = packed_gradient_a(dh, *attributes.packed);
  if (call.wanted[0]) {
    const bool adds = call.gathered[0].defined();
    dx = call.gradient_of(0, {dz.rows(), a.cols()}, DType::kF32);
    attributes.weight.matmul_transposed(rows, dx.data<float>(), a.data<float>(), adds);
  }
  return {dx, da, db};
}

std::vector<Tensor> backward_int8(Call& call, const Tensor& dz) {
  const Tensor &x = call.saved[0], &h = call.saved[1], &a = call.saved[2], &b = call.saved[3];
  const auto& [weight, scaling, packed] = attributes_of<Attributes>(call);
  const bool adds = call.gathered[0].defined();
  Tensor dx = call.gradient_of(0, {dz.rows(), a.cols()}, DType::kF32);
  Tensor dh = Tensor::empty(h.shape(), DType::kF32);
  const kernels::ThinTerm thin{a.rows(), b.data<float>(), a.data<float>(),
                               static_cast<float>(scaling), dh.data<float>()};
  weight.matmul_transposed(dz.data<float>(), dz.rows(), thin, dx.data<float>(), adds);
  Tensor da;
  Tensor db;
  if (call.wanted[1]) da = thin_gradient(dh, x, 1.0f);
  if (call.wanted[2]) db = transposed(thin_gradient(h, dz, thin.scaling));
  return {dx, da, db};
}

std::vector<Tensor> backward(Call& call, const Tensor& dz) {
  const auto& attributes = attributes_of<Attributes>(call);
  const quant::Weight& weight = attributes.weight;
  const double scaling = attributes.scaling;
  const auto& packed = attributes.packed;
  if (packed != nullptr) return backward_packed(call, dz);
  const Tensor &x = call.saved[0], &h = call.saved[1], &a = call.saved[2], &b = call.saved[3];
  if (call.wanted[0] && runs_int8(weight, dz, a.rows())) return backward_int8(call, dz);
  LowRankGradients found = low_rank_gradients(x, h, {a, b, scaling}, dz,
                                              {call.wanted[0], call.wanted[1], call.wanted[2]});
  if (call.wanted[0]) {
    dispatch_float(dz.dtype(), "adapted_linear", [&](auto zero) {
      using T = decltype(zero);
      weight.matmul_transposed(dz.data<T>(), dz.rows(), found.dx.data<T>(), true);
    });
  }
  return {found.dx, found.da, found.db};
}

std::vector<Sample> samples(Rng& rng) {
  const auto make = [&](int64_t n) -> std::vector<Tensor> {
    return {random_normal(rng, {n, 32}), random_normal(rng, {2, 32}), random_normal(rng, {5, 2})};
  };
  const auto weight = quant::Weight::from_tensor(random_normal(rng, {5, 32}).to(DType::kF32));
  return {{"all", make(7), Attributes{weight, 0.5, nullptr}, {true, true, true}},
          {"first layer", make(3), Attributes{weight, 2.0, nullptr}, {false, true, true}}};
}

}  // namespace

extern const OpDef adapted_linear_entry;
const OpDef adapted_linear_entry{"product with a frozen matrix and the LoRA beside it", forward,
                                 backward, nullptr, samples};

bool takes_lora_in_int8(const quant::Weight& weight, int64_t n) {
  return weight.runs_int8(n) && weight.gradients_are_int8(n);
}

Tensor adapted_linear(const Tensor& x, std::shared_ptr<PackedRows> packed,
                      const quant::Weight& weight, const Tensor& a, const Tensor& b,
                      double scaling) {
  const Tensor inputs[] = {x, a, b};
  return record(adapted_linear_entry, inputs, Attributes{weight, scaling, std::move(packed)});
}

}  // namespace moxie::ops
