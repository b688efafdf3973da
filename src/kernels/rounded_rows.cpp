#include "kernels/rounded_rows.h"

#include <algorithm>

#include "base/error.h"
#include "kernels/gemm_parts.h"
#include "kernels/micro16.h"
#include "kernels/micro8.h"

namespace moxie::kernels {
namespace {

constexpr int64_t kBlocksOfSpan = 4;  // of 8-bit codes, each with a scale of its own
static_assert(kBlocksOfPart8 % kBlocksOfSpan == 0);

int64_t depth_of(int64_t cols, Arithmetic arithmetic) {
  if (arithmetic == Arithmetic::kInt8) return kDepth8;
  Problem product{};
  product.k = cols;
  return panel_depth(product);
}

}  // namespace

RoundedRows::RoundedRows(int64_t rows, int64_t cols, Arithmetic arithmetic)
    : rows_(rows), cols_(cols), depth_(depth_of(cols, arithmetic)), arithmetic_(arithmetic) {
  MOXIE_ASSERT(arithmetic == Arithmetic::kInt16 || arithmetic == Arithmetic::kInt8);
  const bool is_int8 = arithmetic == Arithmetic::kInt8;
  const int64_t lines = ceil_div(cols, depth_) * (is_int8 ? rows : round_up(rows, kCols16));
  const int64_t codes = lines * depth_ / (is_int8 ? 4 : 2);
  codes_ = Tensor::empty({codes}, DType::kI32);
  scales_ = Tensor::empty({lines}, DType::kF32);
}

int64_t RoundedRows::span_of(int64_t cols, Arithmetic arithmetic) {
  return depth_of(cols, arithmetic) * (arithmetic == Arithmetic::kInt8 ? kBlocksOfSpan : 1);
}

RoundedRows::Place RoundedRows::place_of(int64_t row, int64_t col) const {
  const int64_t block = col / depth_;
  int64_t line = block * round_up(rows_, kCols16) + row;
  if (arithmetic_ == Arithmetic::kInt8) {
    const int64_t first = block / kBlocksOfPart8 * kBlocksOfPart8;
    const int64_t blocks = std::min(kBlocksOfPart8, ceil_div(cols_, depth_) - first);
    line = first * rows_ + row * blocks + (block - first);
  }
  return {line * depth_ + col % depth_, line};
}

void RoundedRows::round(int64_t span, int64_t row, const float* numbers) const {
  const int64_t begin = span * this->span(), end = std::min(cols_, begin + this->span());
  for (int64_t col = begin; col < end; col += depth_, numbers += depth_) {
    const Place at = place_of(row, col);
    const int64_t count = std::min(depth_, end - col);
    if (arithmetic_ == Arithmetic::kInt16) {
      scales()[at.scale] = micro16().round_row(numbers, count, kMost16, codes<int16_t>() + at.code);
      continue;
    }
    uint8_t* to = codes<uint8_t>() + at.code;
    scales()[at.scale] = micro8().round_positive(numbers, count, to);
    std::fill(to + count, to + depth_, uint8_t{0});
  }
}

void RoundedRows::scale(int64_t span, int64_t row, float factor) const {
  const int64_t begin = span * this->span(), end = std::min(cols_, begin + this->span());
  for (int64_t col = begin; col < end; col += depth_) scales()[place_of(row, col).scale] *= factor;
}

}  // namespace moxie::kernels
