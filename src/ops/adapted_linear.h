#pragma once
#include <memory>

#include "kernels/packed_rows.h"
#include "ops/adapted_int8.h"
#include "ops/tape.h"
namespace moxie::ops {
// x W^T + scaling (x A^T) B^T, W frozen: linear and lora in one op, x [n, in], A [r, in], B [out,
// r]. `packed` is x, packed with r spare numbers a row, for a weight that runs packed: then it is
// kept for the backward instead of x, several ops may share it, and what the LoRA adds is summed
// with the weight's product. Null: the two one after the other, or in integers (adapted_int8.h),
// and then `plain`, x in bf16, is kept instead of x if it is defined.
Tensor adapted_linear(const Tensor& x, const AdaptedMatrix& matrix,
                      std::shared_ptr<kernels::PackedRows> packed = nullptr, Tensor plain = {});
}  // namespace moxie::ops
