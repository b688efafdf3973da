#pragma once
// Rows times a frozen matrix and the LoRA beside it in the integers of AVX2, for the ops
// adapted_linear and gated_mlp: forward as an attached adapter is multiplied (quant/low_rank.h),
// gradients as kernels::gemm_nn_int8 says.
#include <span>
#include <vector>

#include "quant/weight.h"

namespace moxie::ops {

// One frozen linear, and the LoRA beside it if A [r, in] and B [out, r] are defined.
struct AdaptedMatrix {
  quant::Weight weight;
  Tensor a, b;
  double scaling = 0;
  bool is_adapted() const { return a.defined(); }
};

// Whether both directions of n rows are made so.
bool runs_int8(const AdaptedMatrix& matrix, int64_t n);
bool takes_lora_in_int8(const quant::Weight& weight, int64_t n);  // of a rank that is not too high

// z = x W^T + s h B^T of each, with one x [n, in]; h = x A^T, undefined without a LoRA.
struct Int8Results {
  std::vector<Tensor> z, h;
};
Int8Results multiply_int8(std::span<const AdaptedMatrix* const> matrices, const Tensor& x);

struct LoraGradients {
  Tensor da, db;
};
// dx = dz W + dh A, added to what dx holds if `adds`; returns dh = s dz B. dx may be undefined.
Tensor multiply_back_int8(const AdaptedMatrix& matrix, const Tensor& dz, const Tensor& dx,
                          bool adds);
// dA = dh^T x, dB = s dz^T h, x in f32 or bf16.
LoraGradients lora_gradients_int8(const AdaptedMatrix& matrix, const Tensor& x, const Tensor& h,
                                  const Tensor& dz, const Tensor& dh);

}  // namespace moxie::ops
