#pragma once
// Weight: a frozen matrix [rows = out, cols = in] in the bytes of its own format, and the products
// a network needs of it. Copies share the bytes. Gradients pass through matmul_transposed whatever
// the format: a LoRA trains on a 4-bit file as it is.
//
// compute: "f32" multiplies the exactly decoded values in f32; "bf16" rounds both factors to bf16
// and accumulates in f32 (emulated where the CPU has no such instruction, so results have one
// meaning); "int16" rounds both to 11 bits and a sign in blocks that share a scale
// (kernels/gemm.h); "int8" rounds x to 8 bits a group of 32 and multiplies integers (int8.h) where
// the format has Int8Kernels; formats without them take int16 where the CPU is faster with it, else
// f32. There matmul_transposed rounds both to 6 bits and a sign, but for softmaxes, which come
// rounded (softmax_arithmetic). Under int16 up to kernels::kFewRows rows are multiplied in f32.
// "tiles8" rounds both factors to 8 bits in blocks of 32 along the sums (kernels/micro_tiles.h), in
// either direction, and is bf16 where it is not native or rows are few; a matrix that trains has
// its own gradient in bf16 (trainable_arithmetic_of). "gradients8" is bf16, but gradients of many
// rows pass through a weight in 8 bits with a scale for hundreds of numbers (kernels/micro_codes.h)
// where AMX multiplies such, softmaxes' apart; activations have outliers, which would leave the
// others no digits (Dettmers et al., 2022, "LLM.int8()"). "mixed" is int8 for up to kMixedRows rows
// (decoding) and tiles for more (prompts), of bf16 where there is AMX and of 8 bits elsewhere, for
// CPUs whose tiles outrun int8; int8 alone while kernels::is_batch_invariant(), and bf16 alone
// where the format has no Int8Kernels.
#include <memory>
#include <span>
#include <vector>

#include "kernels/gemm.h"
#include "kernels/packed_rows.h"
#include "kernels/rounded_rows.h"
#include "quant/format.h"
#include "quant/int8.h"
#include "tensor/tensor.h"

namespace moxie::quant {

enum class Compute { kF32, kBF16, kInt8, kInt16, kTiles8, kGradients8, kMixed };
inline constexpr int64_t kMixedRows = 48;

kernels::Arithmetic arithmetic_of(Compute compute);  // of products that int8 does not take
// Of a trainable matrix inside a network.
kernels::Arithmetic trainable_arithmetic_of(Compute compute);
// Whether a backward may see what it needs rounded to bf16, since products round more.
bool keeps_bf16(Compute compute);

class LowRankCopy;  // low_rank.h

class Weight {
 public:
  Weight() = default;
  // Views `bytes` (exactly rows * row_bytes); `owner` keeps them alive.
  Weight(const Named<QuantFormat>& format, int64_t rows, int64_t cols, const std::byte* bytes,
         std::shared_ptr<const void> owner);
  static Weight from_tensor(const Tensor& matrix);  // f32, bf16 or f16, rank 2

  bool defined() const { return bytes_ != nullptr; }
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  const Named<QuantFormat>& format() const { return *format_; }
  std::span<const std::byte> bytes() const;
  void set_compute(Compute compute) { compute_ = compute; }
  Compute compute() const { return compute_; }
  bool runs_int8(int64_t n) const;       // products with n rows of x
  Compute compute_for(int64_t n) const;  // the same: never kMixed

  // y[n, rows] = x[n, cols] W^T; adds to y instead when `accumulate`. Rows of x do not influence
  // each other's results, and the bits do not depend on the number of threads; under int8 they do
  // not depend on n or on the CPU either.
  void matmul(const float* x, int64_t n, float* y, bool accumulate = false) const;
  // The products of several weights with the same x, y[i] = x w[i]^T, and what is attached to
  // them: the bits of matmul, and under int8 all in one parallel region.
  struct Product {
    const Weight& weight;
    float* y;
    const LowRankCopy* attached = nullptr;  // only where the weight runs_int8(n)
    float* inner = nullptr;                 // where its h is written, if not null
  };
  static void matmul_together(std::span<const Product> products, const float* x, int64_t n);
  // The same in tiles of rows that are packed, with thin [rows, x.spare()] beside it: what their
  // spare numbers add, if not null.
  void matmul(const kernels::PackedRows& x, float* y, const float* thin = nullptr,
              bool accumulate = false) const;
  void matmul_transposed(const kernels::PackedRows& dy, float* dx, const float* thin = nullptr,
                         bool accumulate = false) const;  // thin [dy.spare(), cols]
  // Its rows for products of n packed rows that are part of something larger, while it lives.
  kernels::RowDecoder decoder(int64_t n) const;
  bool runs_packed(int64_t n) const;      // products with n rows are made of tiles, and natively
  kernels::Tiles tiles(int64_t n) const;  // of these
  bool runs_integers(int64_t n) const;    // both directions in integers of 8 or 16 bits
  // dx[n, cols] = dy[n, rows] W; adds when `accumulate`.
  void matmul_transposed(const float* dy, int64_t n, float* dx, bool accumulate = false) const;
  // Whether that takes kernels::Arithmetic::kInt8.
  bool gradients_are_int8(int64_t n) const;
  // Whether those of packed rows are multiplied as codes (kernels/coded_panel.h).
  bool gradients_are_codes(int64_t n) const;
  // A weight whose gradients take 16 bits instead: for those of a softmax, whose small numbers
  // beside large ones 8 bits do not hold.
  Weight with_fine_gradients() const;
  // The same with the products of a LoRA beside it, where gradients_are_int8().
  void matmul_transposed(const float* dy, int64_t n, const kernels::ThinTerm& thin, float* dx,
                         bool accumulate) const;
  void matmul_transposed(const kernels::RoundedRows& dy, float* dx) const;  // in integers
  // Of softmaxes as dy there, labels apart (kernels/label_loss.h): kInt16 or kInt8.
  kernels::Arithmetic softmax_arithmetic() const;
  // The same over decoded values in double, for tests and f64 runs.
  void matmul(const double* x, int64_t n, double* y, bool accumulate = false) const;
  void matmul_transposed(const double* dy, int64_t n, double* dx, bool accumulate = false) const;

  // Rows [begin, end) as a weight of their own (a chunk of the vocabulary): same bytes.
  Weight slice_rows(int64_t begin, int64_t end) const;
  void decode_row(int64_t row, float* out) const;
  Tensor decode() const;  // the whole matrix in f32

 private:
  const Named<QuantFormat>* format_ = nullptr;
  int64_t rows_ = 0, cols_ = 0;
  const std::byte* bytes_ = nullptr;
  std::shared_ptr<const void> owner_;
  Compute compute_ = Compute::kF32;
  bool has_fine_gradients_ = false;
};

// Products of n rows of x with parts of a weight, which a thread makes by itself: x is rounded once
// where compute is int8. Both must outlive it.
class ProductInParts {
 public:
  ProductInParts(const Weight& weight, const float* x, int64_t n);
  // y[i1 - i0, j1 - j0] = rows [i0, i1) of x times rows [j0, j1) of the weight. The bits of matmul
  // with all n rows, if these are as few or as many (kernels::kFewRows).
  void make(int64_t i0, int64_t i1, int64_t j0, int64_t j1, float* y) const;

 private:
  const Weight& weight_;
  const float* x_;
  std::vector<float> memory_;
  Int8Rows rows_;  // where compute is int8
};

}  // namespace moxie::quant
