#pragma once
#include "kernels/gemm.h"
#include "kernels/packed_rows.h"
#include "ops/tape.h"
namespace moxie::ops {
// x [n, in] W^T, W [out, in] trainable; the three products are made in this arithmetic (in f64 they
// are exact). packed is x in the tiles of this arithmetic, made once for all that multiply it, or
// null: of bf16, which are kept instead of x, or of 8-bit integers, beside which plain is kept.
Tensor dense(const Tensor& x, const Tensor& weight,
             kernels::Arithmetic arithmetic = kernels::Arithmetic::kF32,
             kernels::SharedRows packed = {});

}  // namespace moxie::ops
