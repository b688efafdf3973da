#pragma once
#include <memory>

#include "kernels/packed_rows.h"
#include "ops/tape.h"
#include "quant/weight.h"
namespace moxie::ops {
// x W^T + scaling (x A^T) B^T, W frozen: linear and lora in one op, x [n, in], A [r, in], B [out,
// r]. `packed` is x, packed with r spare numbers a row, for a weight that runs packed: then it is
// kept for the backward instead of x, several ops may share it, and what the LoRA adds is summed
// with the weight's product. Null: the two one after the other, or where takes_lora_in_int8() all
// in integers, as an attached adapter is multiplied (quant/low_rank.h) and kernels::gemm_nn_int8.
Tensor adapted_linear(const Tensor& x, std::shared_ptr<kernels::PackedRows> packed,
                      const quant::Weight& weight, const Tensor& a, const Tensor& b,
                      double scaling);
bool takes_lora_in_int8(const quant::Weight& weight, int64_t n);
}  // namespace moxie::ops
