#pragma once
#include "kernels/gemm.h"
#include "kernels/packed_rows.h"
#include "ops/tape.h"
namespace moxie::ops {
// x [n, in] W^T, W [out, in] trainable; the three products are made in this arithmetic (in f64 they
// are exact). packed is x in tiles, made once for all that multiply it, or null: of bf16, which are
// kept instead of x, and beside them of 8-bit integers, which y is then made of.
Tensor dense(const Tensor& x, const Tensor& weight,
             kernels::Arithmetic arithmetic = kernels::Arithmetic::kF32,
             kernels::SharedRows packed = {});

}  // namespace moxie::ops
