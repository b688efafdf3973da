#pragma once
#include "ops/tape.h"
namespace moxie::ops {
// y + scaling (x A^T) B^T: x [n, in], y [n, out], A [r, in], B [out, r] (Hu et al., 2021). One op,
// so that only x and the thin x A^T are kept. A y that nothing else holds (moved in) is written
// over.
Tensor lora(const Tensor& x, Tensor y, const Tensor& a, const Tensor& b, double scaling);
}  // namespace moxie::ops
