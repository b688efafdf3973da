#pragma once
#include "ops/tape.h"
namespace moxie::ops {
Tensor softmax(const Tensor& x);  // over the last dimension
}
