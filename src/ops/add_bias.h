#pragma once
#include "ops/tape.h"
namespace moxie::ops {
Tensor add_bias(const Tensor& x, const Tensor& bias);  // x [n, d] + bias [d]
}
