#pragma once
#include "ops/tape.h"
namespace moxie::ops {
// Columns of the k largest values of each row, largest first, ties by lower column; i64 [rows, k].
Tensor top_k(const Tensor& x, int64_t k);
}  // namespace moxie::ops
