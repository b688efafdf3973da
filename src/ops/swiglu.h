#pragma once
#include "ops/activation.h"
#include "ops/tape.h"
namespace moxie::ops {
// act(gate) * up, elementwise: SwiGLU with silu, GeGLU with gelu (Shazeer, 2020).
Tensor swiglu(const Tensor& gate, const Tensor& up, Activation activation = Activation::kSilu);
}  // namespace moxie::ops
