#pragma once
// Rows of numbers rounded to codes of integers where they are made, as the left matrix of a product
// of these (Arithmetic::kInt16 or kInt8 in gemm.h): a half or a quarter of the bytes of f32, and
// the product rounds them no more.
#include <cstdint>

#include "kernels/gemm.h"
#include "tensor/tensor.h"

namespace moxie::kernels {

// Codes of 16 bits stand in blocks along the columns, whose width is the product's own: [block,
// row, column]. Those of 8 bits are of numbers from 0 on, up to kMostPositive8 (micro8.h), and
// stand in the parts that the product takes at a time: [part, row, block, column].
class RoundedRows {
 public:
  RoundedRows() = default;
  RoundedRows(int64_t rows, int64_t cols, Arithmetic arithmetic);  // kInt16 or kInt8

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  Arithmetic arithmetic() const { return arithmetic_; }

  // Columns are rounded a span at a time: one block, or in 8 bits some.
  static int64_t span_of(int64_t cols, Arithmetic arithmetic);
  int64_t span() const { return span_of(cols_, arithmetic_); }
  // Rounds a row's numbers there; and multiplies them by a factor.
  void round(int64_t span, int64_t row, const float* numbers) const;
  void scale(int64_t span, int64_t row, float factor) const;

  // A number is scale * code, of the place where it stands.
  struct Place {
    int64_t code, scale;  // elements from the beginning on
  };
  Place place_of(int64_t row, int64_t col) const;
  template <class Code>  // int16_t or uint8_t
  Code* codes() const {
    return reinterpret_cast<Code*>(codes_.data<int32_t>());
  }
  float* scales() const { return scales_.data<float>(); }

 private:
  int64_t rows_ = 0, cols_ = 0, depth_ = 1;
  Arithmetic arithmetic_ = Arithmetic::kInt16;
  Tensor codes_, scales_;
};

// c[m, n] = a w, w [cols, n]: the bits of gemm_nn with the f32 that were rounded, if they are of 16
// bits.
void multiply_nn(const RoundedRows& a, int64_t n, const RowDecoder& w, float* c);
// The same of 8 bits alone.
void multiply_nn8(const RoundedRows& a, int64_t n, const RowDecoder& w, float* c);

}  // namespace moxie::kernels
