#pragma once
// What the products in f32 and in integers share: the description of a product, where its
// matrix B comes from, and how the threads deal C out.
#include <algorithm>
#include <cstdint>
#include <functional>

#include "base/threads.h"
#include "kernels/gemm.h"
#include "kernels/micro_tiles.h"

namespace moxie::kernels {

class PackedRows;  // packed_rows.h

// Where B comes from: dense, by rows of k (natural) or of n (transposed), decoded, or rows of k
// that are packed as an A.
struct Source {
  const float* dense = nullptr;
  const RowDecoder* decoder = nullptr;
  const PackedRows* turned = nullptr;
  bool is_transposed = false;
  int64_t ld = 0;  // of the matrix as it is given, by rows
};

struct Problem {
  int64_t m, n, k;
  const float* a;
  int64_t a_row, a_step;  // element (i, p) of A is a[i * a_row + p * a_step]
  Source b;
  float* c;
  bool accumulate;
  float alpha;
  bool a_is_packed = false;  // strips of micro().rows rows, each [k, rows of the strip]
};

inline constexpr int64_t kSmallWork =
    64 * 1024;  // multiply-adds that one thread does sooner than two

inline int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
inline int64_t round_up(int64_t a, int64_t b) {
  return ceil_div(a, b) * b;
}

// Depth of a panel of B, a multiple of 32 and of what a decoder needs, `most` or a bit more where
// that is no such multiple: it depends on k and the format alone, since it decides the order of the
// sums.
inline constexpr int64_t kMostDepth = 384;  // of f32: 24 KiB of a panel pass through L1 at a time
int64_t panel_depth(const Problem& t, int64_t most = kMostDepth);

// Decodes a piece of a row, of rows below `stop` that are decoded one by one: asks for those to
// come, since no prefetcher sees so short pieces coming.
void decode_row(const RowDecoder& rows, int64_t row, int64_t stop, int64_t begin, int64_t end,
                float* out);
void decode_row(const RowDecoder& rows, int64_t row, int64_t stop, int64_t begin, int64_t end,
                BFloat16* out);  // where it has decode_bf16

// Columns of B that are packed at a time come in multiples of this.
int64_t column_unit(const Problem& t, int64_t tile_cols);

// What packing a column of B costs in f32 and integers, in rows of A that are multiplied
// with it meanwhile.
inline int64_t pack_cost(const Problem& t) {
  return t.b.decoder != nullptr ? 32 : 12;
}

// Calls rectangle(i0, i1, j0, j1) for parts of C on all threads; i0 is a multiple of `row_unit`, j0
// of `col_unit`.
void deal_rectangles(const Problem& t, int64_t row_unit, int64_t col_unit, int64_t pack_cost,
                     const std::function<void(int64_t, int64_t, int64_t, int64_t)>& rectangle);

// All threads pack a panel of `units` units of columns, then share the bands of rows that are
// multiplied with it.
void share_panel(int64_t units, RangeBody pack, int64_t bands, RangeBody multiply);

// Columns [j0, j1) of B at [k0, k1) as bands of tiles `size` numbers apart. Nothing of the band is
// written beyond the tiles that k1 - k0 numbers take.
void pack_tiles(const Source& b, Tiles kind, int64_t k0, int64_t k1, int64_t j0, int64_t j1,
                int64_t size, BFloat16* bands);
// The same of what meets the spare numbers of packed rows beside a b of n columns: thin, given as b
// is, or null.
void pack_thin(const Source& b, const float* thin, Tiles kind, int64_t spare, int64_t n, int64_t j0,
               int64_t j1, int64_t size, BFloat16* bands);

// C of a product in 16-bit integers: gemm16.cpp; in 8-bit ones, of factors given by rows of k:
// gemm8.cpp; of tiles: gemm_tiles.cpp.
void multiply16(const Problem& t);
void multiply8(const Problem& t);
void multiply_tiles(const Problem& t, Tiles kind);

}  // namespace moxie::kernels
