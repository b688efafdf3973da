#pragma once
#include "ops/tape.h"
namespace moxie::ops {
// a + b, same shape; in b's memory if b is the only handle on it.
Tensor add(const Tensor& a, Tensor b);
}  // namespace moxie::ops
