#pragma once
#include <vector>

#include "ops/tape.h"
namespace moxie::ops {
Tensor scatter_rows(const Tensor& x, std::vector<int64_t> ids, int64_t rows);  // y[ids[i]] += x[i]
}
