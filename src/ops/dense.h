#pragma once
#include "ops/tape.h"
namespace moxie::ops {
Tensor dense(const Tensor& x, const Tensor& weight);  // x [n, in] W^T, W [out, in] trainable
}
