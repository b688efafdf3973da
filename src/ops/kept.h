#pragma once
// What an op keeps of a tensor of f32 for its backward where products round to bf16 anyway: a copy
// in bf16, half as large.
#include "tensor/tensor.h"

namespace moxie::ops {

Tensor in_bf16(const Tensor& x);
Tensor in_f32(const Tensor& kept);

}  // namespace moxie::ops
