#pragma once
#include "ops/tape.h"
namespace moxie::ops {
// (x - mean) / sqrt(var + eps) * weight + bias over the last dimension (Ba et al., 2016).
Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double epsilon);
}  // namespace moxie::ops
