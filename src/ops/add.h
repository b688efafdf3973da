#pragma once
#include "ops/tape.h"
namespace moxie::ops {
Tensor add(const Tensor& a, const Tensor& b);  // a + b, same shape
}
