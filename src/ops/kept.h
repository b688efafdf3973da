#pragma once
// What an op keeps of a tensor for its backward. Where products round to bf16 anyway, a copy in
// bf16 takes half the memory.
#include "tensor/tensor.h"

namespace moxie::ops {

// x itself, or such a copy of one of f32.
Tensor kept(const Tensor& x, bool in_bf16);
// What can be computed with again: of bf16 in f32, else itself.
Tensor restored(const Tensor& kept);

}  // namespace moxie::ops
