#pragma once
#include "ops/tape.h"
namespace moxie::ops {
Tensor silu(const Tensor& x);  // x * sigmoid(x)
}
