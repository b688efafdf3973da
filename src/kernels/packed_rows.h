#pragma once
// Rows of numbers rounded to bf16 or 8-bit integers (micro_tiles.h) and packed as the left matrix
// of products in the same, once for several products with them: those of projections that read the
// same activations, of the LoRAs beside these, and of the gradients. Sums are f32; alpha and
// accumulate as in gemm.h, and so is what the bits depend on.
#include <cstdint>
#include <memory>

#include "kernels/gemm.h"
#include "kernels/micro_tiles.h"
#include "tensor/tensor.h"

namespace moxie::kernels {

class PackedRows {
 public:
  PackedRows() = default;
  // With room beside each row for `spare` numbers, which a second, thin product adds: see below.
  PackedRows(int64_t rows, int64_t cols, int64_t spare = 0, Tiles kind = Tiles::kBF16);

  // Number p of row i stands at src[i * row + p * step]; one of both is 1.
  void pack(const float* src, int64_t row, int64_t step);
  // The spare numbers: factor h[rows, spare].
  void set_spare(const float* h, float factor);

  Tiles kind() const { return kind_; }
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  int64_t spare() const { return spare_; }
  int64_t bands() const { return (rows_ + kBandLines - 1) / kBandLines; }
  int64_t tiles() const { return (cols_ + kTileDepth - 1) / kTileDepth; }  // without the spare ones
  int64_t spare_tiles() const { return (spare_ + kTileDepth - 1) / kTileDepth; }
  // The tiles of 32 rows along the columns; the spare ones follow.
  BFloat16* band(int64_t index) const;

 private:
  int64_t rows_ = 0, cols_ = 0, spare_ = 0;
  Tiles kind_ = Tiles::kBF16;
  Tensor memory_;
};

// The same rows packed once for all that multiply them, of each kind or null, and as they stand in
// bf16, or undefined.
struct SharedRows {
  std::shared_ptr<PackedRows> bf16, int8;
  Tensor plain;
  std::shared_ptr<PackedRows>& of(Tiles kind) { return is_int8(kind) ? int8 : bf16; }
};

// c[m, n] = a w^T + spare thin^T, w [n, cols]. thin [n, spare] may be null: then the first alone.
void multiply_nt(const PackedRows& a, int64_t n, const RowDecoder& w, const float* thin, float* c,
                 bool accumulate = false);
void multiply_nt(const PackedRows& a, int64_t n, const float* b, float* c);  // b [n, cols]
// c[m, n] (+)= a w + spare thin, w [cols, n], thin [spare, n]
void multiply_nn(const PackedRows& a, int64_t n, const RowDecoder& w, const float* thin, float* c,
                 bool accumulate);
void multiply_nn(const PackedRows& a, int64_t n, const float* b, float alpha, float* c);
// c[r, n] (+)= alpha a[m, r]^T b, b [m, n]; in bf16, whatever b holds
void multiply_tn(int64_t r, const float* a, const PackedRows& b, float alpha, float* c,
                 bool accumulate = false);

}  // namespace moxie::kernels
