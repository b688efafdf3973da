#pragma once
#include "ops/activation.h"
#include "ops/tape.h"
namespace moxie::ops {
Tensor gelu(const Tensor& x, Activation kind = Activation::kGeluTanh);  // kGeluTanh or kGelu
}
