#pragma once
#include "ops/tape.h"
namespace moxie::ops {
Tensor columns(const Tensor& x, int64_t begin, int64_t end);  // x[:, begin:end], a copy
}
