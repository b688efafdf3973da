#pragma once
#include <memory>

#include "kernels/gemm.h"
#include "kernels/packed_rows.h"
#include "ops/tape.h"
namespace moxie::ops {
// x [n, in] W^T, W [out, in] trainable; the three products are made in this arithmetic (in f64 they
// are exact). packed is x in tiles of bf16, made once for all that multiply it, or null; then x
// itself is not kept.
Tensor dense(const Tensor& x, const Tensor& weight,
             kernels::Arithmetic arithmetic = kernels::Arithmetic::kF32,
             std::shared_ptr<const kernels::PackedRows> packed = nullptr);

}  // namespace moxie::ops
