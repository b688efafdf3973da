#pragma once
// Rows of numbers rounded to 16-bit codes where they are made, as the left matrix of a product in
// integers (Arithmetic::kInt16 in gemm.h): half the bytes of f32, and the product rounds them no
// more. In blocks along the columns, whose width is the product's own.
#include <cstdint>

#include "kernels/gemm.h"
#include "tensor/tensor.h"

namespace moxie::kernels {

class RoundedRows {
 public:
  RoundedRows() = default;
  RoundedRows(int64_t rows, int64_t cols);

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  static int64_t depth_of(int64_t cols);  // columns of a block, but for the last
  int64_t depth() const { return depth_; }
  int64_t blocks() const { return (cols_ + depth_ - 1) / depth_; }
  // The codes of a row in a block, as Micro16::round_row (micro16.h) writes them, and the scales of
  // all rows there: a number is scale * code.
  int16_t* codes(int64_t block, int64_t row) const;
  float* scales(int64_t block) const;

 private:
  int64_t rows_ = 0, cols_ = 0, depth_ = 1;
  Tensor codes_, scales_;
};

// c[m, n] = a w, w [cols, n]: the bits of gemm_nn with the f32 that were rounded.
void multiply_nn(const RoundedRows& a, int64_t n, const RowDecoder& w, float* c);

}  // namespace moxie::kernels
