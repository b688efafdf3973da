#pragma once
#include "ops/tape.h"
namespace moxie::ops {
// Zeroes each element with probability p and scales the rest by 1 / (1 - p). The mask is a function
// of (seed, stream, element), drawn again in the backward: nothing is stored, nothing depends on
// threads.
Tensor dropout(const Tensor& x, double p, uint64_t seed, uint64_t stream);
}  // namespace moxie::ops
