// z = x W^T + s h B^T, h = x A^T
// dh = s dz B, dx = dz W + dh A, dB = s dz^T h, dA = dh^T x
#include "ops/adapted_linear.h"

#include <utility>

#include "ops/checks.h"
#include "ops/kept.h"
#include "ops/low_rank.h"

namespace moxie::ops {
namespace {

using kernels::PackedRows;

struct Attributes {
  quant::Weight weight;
  double scaling;
  std::shared_ptr<PackedRows> packed;  // null: see adapted_linear()
  Tensor plain;                        // x in bf16, or undefined
};

struct Forward {
  Tensor z, h;
};
// Of rows that are not packed; in integers the LoRA's products are so too.
Forward forward_rows(const Tensor& x, const AdaptedMatrix& matrix) {
  if (x.dtype() == DType::kF32 && runs_int8(matrix, x.rows())) {
    const AdaptedMatrix* only = &matrix;
    Int8Results results = multiply_int8({&only, 1}, x);
    return {std::move(results.z[0]), std::move(results.h[0])};
  }
  Tensor z = Tensor::empty({x.rows(), matrix.weight.rows()}, x.dtype());
  dispatch_float(x.dtype(), "adapted_linear", [&](auto zero) {
    using T = decltype(zero);
    matrix.weight.matmul(x.data<T>(), x.rows(), z.data<T>());
  });
  return {z, add_low_rank(x, {matrix.a, matrix.b, matrix.scaling}, z)};
}

Tensor forward(Call& call, std::span<const Tensor> in) {
  const Tensor &x = in[0], &a = in[1], &b = in[2];
  auto& attributes = std::any_cast<Attributes&>(call.attributes);
  const auto& [weight, scaling, packed, plain] = attributes;
  check_low_rank("adapted_linear", x, x.rows(), weight.rows(), {a, b, scaling});
  Forward made;
  if (packed != nullptr) {
    MOXIE_ASSERT(packed->rows() == x.rows() && packed->cols() == x.cols() &&
                 packed->spare() == a.rows() && weight.runs_packed(x.rows()) &&
                 packed->kind() == weight.tiles(x.rows()));
    made = {Tensor::empty({x.rows(), weight.rows()}, x.dtype()), packed_inner(*packed, a)};
    packed->set_spare(made.h.data<float>(), static_cast<float>(scaling));
    weight.matmul(*packed, made.z.data<float>(), b.data<float>());
  } else {
    made = forward_rows(x, {weight, a, b, scaling});
  }
  if (call.any_wanted()) {
    const bool needs_x = packed == nullptr && call.wanted[1];
    call.saved = {needs_x ? (plain.defined() ? plain : x) : Tensor(),
                  kept(made.h, packed != nullptr), a, b};
  }
  attributes.plain = Tensor();
  return made.z;
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

std::vector<Tensor> backward_int8(Call& call, const AdaptedMatrix& matrix, const Tensor& dz) {
  const Tensor &x = call.saved[0], &h = call.saved[1];
  const bool adds = call.gathered[0].defined();
  Tensor dx;
  if (call.wanted[0]) dx = call.gradient_of(0, {dz.rows(), matrix.a.cols()}, DType::kF32);
  const Tensor dh = multiply_back_int8(matrix, dz, dx, adds);
  const auto [da, db] = lora_gradients_int8(matrix, x, h, dz, dh);
  return {dx, da, db};
}

std::vector<Tensor> backward(Call& call, const Tensor& dz) {
  const auto& attributes = attributes_of<Attributes>(call);
  if (attributes.packed != nullptr) return backward_packed(call, dz);
  const Tensor &x = call.saved[0], &h = call.saved[1], &a = call.saved[2], &b = call.saved[3];
  const AdaptedMatrix matrix{attributes.weight, a, b, attributes.scaling};
  const bool wants_lora = call.wanted[1] && call.wanted[2];
  if (wants_lora && dz.dtype() == DType::kF32 && runs_int8(matrix, dz.rows()))
    return backward_int8(call, matrix, dz);
  LowRankGradients found = low_rank_gradients(restored(x), h, {a, b, attributes.scaling}, dz,
                                              {call.wanted[0], call.wanted[1], call.wanted[2]});
  if (call.wanted[0]) {
    dispatch_float(dz.dtype(), "adapted_linear", [&](auto zero) {
      using T = decltype(zero);
      attributes.weight.matmul_transposed(dz.data<T>(), dz.rows(), found.dx.data<T>(), true);
    });
  }
  return {found.dx, found.da, found.db};
}

std::vector<Sample> samples(Rng& rng) {
  const auto make = [&](int64_t n) -> std::vector<Tensor> {
    return {random_normal(rng, {n, 32}), random_normal(rng, {2, 32}), random_normal(rng, {5, 2})};
  };
  const auto weight = quant::Weight::from_tensor(random_normal(rng, {5, 32}).to(DType::kF32));
  return {{"all", make(7), Attributes{weight, 0.5, nullptr, {}}, {true, true, true}},
          {"first layer", make(3), Attributes{weight, 2.0, nullptr, {}}, {false, true, true}}};
}

}  // namespace

extern const OpDef adapted_linear_entry;
const OpDef adapted_linear_entry{"product with a frozen matrix and the LoRA beside it", forward,
                                 backward, nullptr, samples};

Tensor adapted_linear(const Tensor& x, const AdaptedMatrix& matrix,
                      std::shared_ptr<PackedRows> packed, Tensor plain) {
  const Tensor inputs[] = {x, matrix.a, matrix.b};
  return record(adapted_linear_entry, inputs,
                Attributes{matrix.weight, matrix.scaling, std::move(packed), std::move(plain)});
}

}  // namespace moxie::ops
