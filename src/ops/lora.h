#pragma once
#include "kernels/gemm.h"
#include "ops/tape.h"
namespace moxie::ops {
// y + scaling (x A^T) B^T: x [n, in], y [n, out], A [r, in], B [out, r] (Hu et al., 2021). One op,
// so that only x and the thin x A^T are kept. A y that nothing else holds (moved in) is written
// over. All products are made in this arithmetic (in f64 they are exact).
Tensor lora(const Tensor& x, Tensor y, const Tensor& a, const Tensor& b, double scaling,
            kernels::Arithmetic arithmetic = kernels::Arithmetic::kF32);
}  // namespace moxie::ops
