#pragma once
#include "kernels/gemm.h"
#include "ops/tape.h"
namespace moxie::ops {
// x [n, in] W^T, W [out, in] trainable; the three products are made in this arithmetic (in f64 they
// are exact).
Tensor dense(const Tensor& x, const Tensor& weight,
             kernels::Arithmetic arithmetic = kernels::Arithmetic::kF32);
}  // namespace moxie::ops
