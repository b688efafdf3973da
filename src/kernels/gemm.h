#pragma once
// Matrix products over row-major views with tight leading dimensions. alpha scales the product;
// `accumulate` adds it to what c holds, else c is overwritten.
//
// Work is split by output only and every element sums over k in one fixed order, so the bits do not
// depend on the number of threads, nor does a row of c depend on what the other rows hold. Rows of
// *_nt products take one of two orders: that of dot products when m <= kFewRows (decoding), that of
// the blocked kernel otherwise. Within each, they do not depend on m.
//
// The f32 kernel follows Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication"
// (2008): panels of B that fit L2, a register tile of C. Weights in another format are given as a
// RowDecoder: tiles of rows are decoded straight into the panels, so no f32 copy of a model exists.
#include <cstdint>

#include "tensor/dtype.h"

namespace moxie::kernels {

inline constexpr int64_t kFewRows = 4;

// kInt16 is block floating point (Das et al., 2018, "Mixed Precision Training of Convolutional
// Neural Networks using Integer Operations"): along k both matrices are cut into blocks of at most
// 512, in which a row of a and a column of b share a scale and are rounded to 11 bits and a sign.
// Sums within a block are exact in 32 bits, blocks are added in f32: the bits are the same on every
// instruction set. An element is off by at most 1 / 4094 of the largest of its block, where bf16 is
// off by up to 1 / 512 of itself. *_nt products of few rows, which are dot products, stay in f32.
// kInt8 is the same in *_nn products, the gradients of what a weight was multiplied with, but with
// blocks of at most 128 and 6 bits and a sign (micro8.h): off by at most 1 / 126 of the largest of
// a block, 1.4 times as fast where int16_is_faster(). *_nt and *_tn products stay kInt16 there:
// Wortsman et al. (2023), "Stable and low-precision training for large-scale vision-language
// models", found that a weight's gradients need more than 8 bits.
// kBF16 rounds both factors to bf16 (micro_tiles.h); sums are f32, in blocks along k. kTiles8
// multiplies tiles of 8-bit integers (there too), as of frozen weights, where
// int8_tiles_are_fastest(), gradients in Tiles::kInt8Wide. Here a weight's take part: their factors
// share scales in blocks of 128 tokens instead of whole matrices. After Xi et al. (2024), "Jetfire:
// Efficient and Accurate Transformer Pretraining with INT8 Data Flow and Per-Block Quantization".
// kGradients8 is kBF16, but *_nn products of many rows take codes where takes_codes()
// (coded_panel.h).
enum class Arithmetic { kF32, kInt16, kInt8, kBF16, kTiles8, kGradients8 };
bool int16_is_faster();  // on this CPU, than f32

// Takes the blocked kernel's order for few rows too, so that a row's bits do not depend on how many
// others come along: what a sequence gets is then the same whatever else is in its batch. Off at
// the start. For the process, as the number of threads is.
void set_batch_invariant(bool is_on);
bool is_batch_invariant();

// c[m, n] = alpha a[m, k] b[k, n]
void gemm_nn(int64_t m, int64_t n, int64_t k, const float* a, const float* b, float* c,
             bool accumulate = false, float alpha = 1, Arithmetic arithmetic = Arithmetic::kF32);
// c[m, n] = alpha a[m, k] b[n, k]^T
void gemm_nt(int64_t m, int64_t n, int64_t k, const float* a, const float* b, float* c,
             bool accumulate = false, float alpha = 1, Arithmetic arithmetic = Arithmetic::kF32);
// c[m, n] = alpha a[k, m]^T b[k, n]: a weight's gradient, dW[out, in] = dy[tokens, out]^T x
void gemm_tn(int64_t m, int64_t n, int64_t k, const float* a, const float* b, float* c,
             bool accumulate = false, float alpha = 1, Arithmetic arithmetic = Arithmetic::kF32);

// The same of a b in bf16, in kTiles8.
void gemm_tn(int64_t m, int64_t n, int64_t k, const float* a, const BFloat16* b, float* c,
             bool accumulate);

// The same in double, exactly whatever the arithmetic: the reference that tests and f64 runs use.
void gemm_nn(int64_t m, int64_t n, int64_t k, const double* a, const double* b, double* c,
             bool accumulate = false, double alpha = 1, Arithmetic = Arithmetic::kF32);
void gemm_nt(int64_t m, int64_t n, int64_t k, const double* a, const double* b, double* c,
             bool accumulate = false, double alpha = 1, Arithmetic = Arithmetic::kF32);
void gemm_tn(int64_t m, int64_t n, int64_t k, const double* a, const double* b, double* c,
             bool accumulate = false, double alpha = 1, Arithmetic = Arithmetic::kF32);

// The same with the sums cut otherwise, for few columns m of a: b, also one of bf16, is read once.
void thin_tn(int64_t m, int64_t n, int64_t k, const float* a, const float* b, float* c,
             float alpha);
void thin_tn(int64_t m, int64_t n, int64_t k, const float* a, const BFloat16* b, float* c,
             float alpha);

struct Int8TileB;  // micro_tiles.h

// A matrix known by its rows: decode writes the values of columns [begin, end) of a row, where
// begin and end are multiples of `granule` (the number of columns is one too). Called from any
// thread.
struct RowDecoder {
  const void* context;
  void (*decode)(const void* context, int64_t row, int64_t begin, int64_t end, float* out);
  int64_t granule;
  // Where the rows stand one after another as plain values of f32, bf16 or f16: their beginning.
  // Few rows are then multiplied with them as they stand, which gives the bits of decoding.
  const void* values = nullptr;
  DType dtype = DType::kF32;
  // decode of `rows` rows one after another, rounded to bf16, of columns that begin and end at
  // multiples of 32; may be null. It asks for as many rows further on. Tiles of 8-bit integers are
  // rounded from it.
  void (*decode_bf16)(const void* context, int64_t row, int64_t rows, int64_t begin, int64_t end,
                      BFloat16* out) = nullptr;
  // Where that is there: the same of `lines` <= 16 rows as tiles of bf16, two apart; and of the
  // columns of `rows` <= 32 rows, which stand side by side: 32 give two tiles, `size` apart.
  void (*along_bf16)(const void* context, int64_t row, int64_t lines, int64_t begin, int64_t end,
                     BFloat16* tiles) = nullptr;
  void (*across_bf16)(const void* context, int64_t row, int64_t rows, int64_t begin, int64_t end,
                      int64_t size, BFloat16* bands) = nullptr;
  // The codes of `lines` <= 16 rows as they stand, in tiles of 32 columns two apart; may be null.
  // Products of tiles of 8-bit integers take it where sums run along the columns.
  void (*pack_int8)(const void* context, int64_t row, int64_t lines, int64_t begin, int64_t end,
                    Int8TileB* tiles) = nullptr;
  // Asks for what decode would read; may be null.
  void (*fetch)(const void* context, int64_t row, int64_t begin, int64_t end) = nullptr;
};

// c[m, n] = a[m, k] w^T, w[n, k]
void gemm_nt(int64_t m, int64_t n, int64_t k, const float* a, const RowDecoder& w, float* c,
             bool accumulate = false, Arithmetic arithmetic = Arithmetic::kF32);
// c[m, n] = a[m, k] w, w[k, n]: the gradient of what a weight was multiplied with, a that of the
// product
void gemm_nn(int64_t m, int64_t n, int64_t k, const float* a, const RowDecoder& w, float* c,
             bool accumulate = false, Arithmetic arithmetic = Arithmetic::kF32);

// The LoRA beside w [k, n]: what it adds to c, dh u, with dh[m, rank] = scaling a b.
struct ThinTerm {
  static constexpr int64_t kMostRank = 128;
  int64_t rank;
  const float* b;  // [k, rank]
  const float* u;  // [rank, n]
  float scaling;
  float* dh;  // also a result
};
// gemm_nn in kInt8 with the products of a LoRA of at most kMostRank, in the same arithmetic.
void gemm_nn_int8(int64_t m, int64_t n, int64_t k, const float* a, const RowDecoder& w,
                  const ThinTerm& thin, float* c, bool accumulate);

}  // namespace moxie::kernels
