#pragma once
// Products of quantised weights with activations that are rounded to 8 bits: integers meet
// integers, and a weight is never decoded to f32.
//
// Activations are cut into groups of 32: x_i ~ d q_i with |q_i| <= 127, d = max |x_i| / 127 in f32.
// In a format with Int8Kernels 32 weights are w_i = scale (multiplier (code_i - offset)) + minimum.
// A product's meaning, the same on every instruction set, for any number of threads, and whatever
// other rows are multiplied in the same call, bit for bit:
//   acc = 0; for each group in order:
//     isum = sum_i multiplier (code_i - offset) q_i, exact in integers
//     acc = fma(scale * d, isum, acc); where there is a minimum: acc = fma(minimum, d * sum q, acc)
// The q's of a group that holds an infinity or a NaN are 0 and its d is NaN, so that the product
// is NaN; a group below 2^-119 is zero.
#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/micro_tiles.h"

namespace moxie::quant {

inline constexpr int64_t kInt8Group = 32;

// Asks for memory before it is read, into L2.
[[gnu::always_inline]] inline void fetch_lines(const std::byte* from, int64_t bytes) {
  for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(from + at, 0, 2);
}

// Rows of activations, quantised. Views of memory that the caller keeps.
struct Int8Rows {
  int64_t count = 0, cols = 0;
  int8_t* codes = nullptr;    // [count, cols]
  float* scales = nullptr;    // [count, cols / 32]: d
  float* sums = nullptr;      // [count, cols / 32]: d times the sum of the codes
  int32_t* halves = nullptr;  // [count, cols / 32]: two int16, sums of the codes 0..15 and 16..31
  uint64_t id = 0;            // no others have, ever; 0: none, and nothing is known of them later
  int64_t groups() const { return cols / kInt8Group; }
  Int8Rows part(int64_t begin, int64_t end) const {
    const int64_t skipped = begin * groups();
    return {end - begin,      cols, codes + skipped * kInt8Group, scales + skipped, sums + skipped,
            halves + skipped, 0};
  }
};
// Room for n rows, in floats, and the rows there.
inline int64_t floats_of_rows(int64_t n, int64_t cols) {
  return n * (cols / kInt8Group) * (kInt8Group / 4 + 3);
}
Int8Rows rows_in(float* memory, int64_t n, int64_t cols);

void quantise_all(const float* x, const Int8Rows& out);  // by all threads
void quantise_rows(const float* x, const Int8Rows& out, int64_t begin, int64_t end);
void quantise_rows_scalar(const float* x, const Int8Rows& out, int64_t begin, int64_t end);

// Rows of a weight, each of `stride` bytes, and where their products go:
// y[i * ld + r] (+)= row r times row i of x.
struct Int8Product {
  const std::byte* weight;
  int64_t stride;
  const Int8Rows& x;
  float* y;
  int64_t ld;
  bool accumulate;
};

// The codes of groups [begin, end) of `lines` <= 16 rows of a weight as tiles, two apart; what
// stands in the lines beyond is of no meaning.
using PackTiles = void (*)(const std::byte* rows, int64_t stride, int64_t lines, int64_t begin,
                           int64_t end, kernels::Int8TileB* tiles);

// A format's products for rows [begin, end) of the weight with all rows of x, on one thread.
struct Int8Kernels {
  void (*dots)(const Int8Product& product, int64_t begin, int64_t end);    // for a few rows of x
  void (*panels)(const Int8Product& product, int64_t begin, int64_t end);  // for many
  void (*dots_scalar)(const Int8Product& product, int64_t begin, int64_t end);  // the reference
  PackTiles pack, pack_scalar;  // null where less than a group shares a scale
  int64_t (*many)();            // rows of x from which panels are the faster way

  void multiply(const Int8Product& product, int64_t begin, int64_t end) const {
    (product.x.count >= many() ? panels : dots)(product, begin, end);
  }
};

class LowRankCopy;  // low_rank.h

// y[n, rows] (+)= x[n, cols] W^T for each of the matrices, plus what is attached to it, over all
// threads: x is rounded once, and the rows of all matrices are dealt out together.
struct Int8Matrix {
  const Int8Kernels* kernels;
  const std::byte* bytes;
  int64_t stride, rows;
  float* y;
  const LowRankCopy* attached = nullptr;
  float* inner = nullptr;  // where its h is written, if not null
};
void int8_matmul(std::span<const Int8Matrix> matrices, int64_t cols, const float* x, int64_t n,
                 bool accumulate);

}  // namespace moxie::quant
