#pragma once
#include "ops/tape.h"
namespace moxie::ops {
Tensor mul(const Tensor& a, const Tensor& b);  // a * b elementwise, same shape
}
