#pragma once
// The thin products of a LoRA, which the ops lora and adapted_linear share:
// h = x A^T, z = y + s h B^T
// dB = s dz^T h, dh = s dz B, dA = dh^T x, dx = dh A
#include <vector>

#include "kernels/gemm.h"
#include "kernels/packed_rows.h"
#include "tensor/tensor.h"

namespace moxie::ops {

struct LowRankTerm {
  const Tensor &a, &b;  // A [r, in], B [out, r]
  double scaling;
  kernels::Arithmetic arithmetic = kernels::Arithmetic::kF32;
};

// Throws kInvalidArgument, with the op's name, where x [n, in], n rows of `out` and the term do not
// fit.
void check_low_rank(std::string_view op, const Tensor& x, int64_t rows, int64_t out,
                    const LowRankTerm& term);
// Adds to z [n, out] and returns h [n, r].
Tensor add_low_rank(const Tensor& x, const LowRankTerm& term, const Tensor& z);

struct LowRankGradients {
  Tensor dx, da, db;
};
struct LowRankWishes {
  bool dx, da, db;
};
LowRankGradients low_rank_gradients(const Tensor& x, const Tensor& h, const LowRankTerm& term,
                                    const Tensor& dz, LowRankWishes wishes);

Tensor transposed(const Tensor& matrix);
// scaling h^T z, [r, cols], of h [n, r] and z [n, cols], r small: dB^T, dA. T is their type,
// but z may be of bf16.
template <class T>
Tensor thin_gradient(const Tensor& h, const Tensor& z, T scaling,
                     kernels::Arithmetic arithmetic = kernels::Arithmetic::kF32);

// The same in packed rows, f32 beside them: x A^T; dB; dh, which become dz's spare numbers; dA.
Tensor packed_inner(const kernels::PackedRows& x, const Tensor& a);
Tensor packed_gradient_b(const kernels::PackedRows& dz, const Tensor& h, double scaling);
Tensor packed_gradient_inner(kernels::PackedRows& dz, const Tensor& b, double scaling);
Tensor packed_gradient_a(const Tensor& dh, const kernels::PackedRows& x);

}  // namespace moxie::ops
