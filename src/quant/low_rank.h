#pragma once
// What an attached adapter adds to an int8 product, y += scaling (x A^T) B^T, from rounded copies
// of both its matrices: inference multiplies them in integers too (int8.h), a quarter of their f32.
//
// A [rank, cols] is kept as q8_0 keeps it, over a power of two near its largest element: an element
// is off by at most 1/220 of the largest in its group of 32. B [rows, rank] times the scaling is
// codes |c| <= 127 with a bf16 scale s a row, rounded up: off by at most 1/250 of the row's
// largest. A product's meaning, the same on every instruction set, for any number of threads, and
// whatever other rows are multiplied in the same call, bit for bit:
//   h = x A^T as int8.h says; h_k ~ t p_k with |p_k| <= 32767, t = max |h_k| / 32767 in f32
//   y_r = fma(s_r * t, sum_k c_rk p_k, y_r), the sum exact in integers
// A row h that holds an infinity or a NaN makes its y NaN; one below 2^-111 is zero.
#include <memory>

#include "quant/int8.h"
#include "tensor/tensor.h"

namespace moxie::quant {

// Rows of h in codes. Views of memory that the caller keeps.
struct InnerRows {
  int64_t count, pairs;  // pairs: of codes in a row, the last one with a zero where rank is odd
  int32_t* codes;        // [count, pairs]: two int16
  float* scales;         // [count]: t
};
void round_inner(const float* h, int64_t rank, const InnerRows& out, int64_t begin, int64_t end);

class LowRankCopy {
 public:
  static constexpr int64_t kMostRank = 512;  // that 32-bit sums of 8 by 16 bits hold
  static constexpr int64_t kStrip = 16;      // rows of B that stand together

  // Of a [rank, cols] and b [rows, rank]; null where there is none: a rank above kMostRank, columns
  // that are no whole groups, elements that are not finite.
  static std::shared_ptr<const LowRankCopy> make(const float* a, const float* b, int64_t rank,
                                                 int64_t cols, int64_t rows, double scaling);

  int64_t rank() const { return rank_; }
  float unit() const { return unit_; }  // the power of two: h is made of A over it
  size_t bytes() const { return memory_.bytes(); }
  Int8Matrix inner(float* h) const;  // the product that makes h [n, rank] of x
  // Asks for A, or for what columns [begin, end) need of B: too short to be seen coming.
  void fetch_inner() const;
  void fetch(int64_t begin, int64_t end) const;
  // Adds columns [begin, end) to y [n, rows]; begin is a multiple of kStrip.
  void add_to(const InnerRows& h, float* y, int64_t begin, int64_t end) const;
  void add_to_scalar(const InnerRows& h, float* y, int64_t begin, int64_t end) const;

 private:
  LowRankCopy(int64_t rank, int64_t cols, int64_t rows);
  void keep_a(const float* a);
  void keep_b(const float* b, float factor);
  int64_t pairs() const { return (rank_ + 1) / 2; }
  std::byte* memory() const { return static_cast<std::byte*>(memory_.raw()); }
  int64_t strip_bytes() const { return 2 * kStrip * (1 + pairs()); }
  std::byte* strip_of(int64_t row) const {
    return memory() + strips_at_ + row / kStrip * strip_bytes();
  }
  int64_t rank_, cols_, rows_;
  const Int8Kernels* kernels_;  // of A's format
  int64_t stride_, strips_at_;
  float unit_ = 1;
  // A, then B: of each strip its bf16 scales and the code pairs [pairs, kStrip]. Products ask for
  // rows ahead of those they multiply, and what follows A is needed next.
  Tensor memory_;
};

}  // namespace moxie::quant
