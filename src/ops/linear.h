#pragma once
#include "ops/tape.h"
#include "quant/weight.h"
namespace moxie::ops {
// x [n, in] W^T with a frozen W [out, in] in any format. Only x gets a gradient, so nothing is
// kept.
Tensor linear(const Tensor& x, const quant::Weight& weight);
}  // namespace moxie::ops
