#pragma once
#include <algorithm>

#include "ops/scale.h"
#include "ops/tape.h"
namespace moxie::ops {
Tensor sum(const Tensor& x);  // over all elements; a tensor of shape [1]
inline Tensor mean(const Tensor& x) {
  return scale(sum(x), 1.0 / static_cast<double>(std::max<int64_t>(1, x.count())));
}
}  // namespace moxie::ops
