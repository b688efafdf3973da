#pragma once
#include "ops/tape.h"
namespace moxie::ops {
Tensor scale(const Tensor& x, double factor);  // x * factor
}
