#pragma once
#include <vector>

#include "ops/tape.h"
namespace moxie::ops {
Tensor gather_columns(const Tensor& table, std::vector<int64_t> ids);  // y[i] = table[:, ids[i]]
}
