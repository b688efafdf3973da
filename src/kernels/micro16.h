#pragma once
// The innermost loops of products in 16-bit integers (gemm16.cpp), one table an instruction set;
// all of them give the same bits. Numbers along k share a scale, x ~ scale * code with |code| at
// most kMost16, and stand in pairs: two codes in 32 bits, the first in the low half.
#include <cstdint>

namespace moxie::kernels {

inline constexpr int kMost16 = 2047;        // 11 bits and a sign
inline constexpr int64_t kDeepest16 = 512;  // codes a sum of 32 bits holds: 512 * 2047^2 < 2^31
inline constexpr int kCols16 = 16;          // columns of a panel of B, [pairs, 16]

// c[i, j] (+)= a_scales[i] b_scales[j] sum of codes, for i < r and j < n. Pair p of row i stands at
// a[i * a_row + p * a_step]; c has rows of ldc floats.
struct Tile16 {
  int r, n;
  int64_t pairs;
  const int32_t* a;
  int64_t a_row, a_step;
  const int32_t* b;
  const float* a_scales;
  const float* b_scales;  // 16 readable ones
  float* c;
  int64_t ldc;
  bool accumulate;
};

struct Micro16 {
  int rows;  // most rows of a tile
  void (*tile)(const Tile16& tile);
  // Rounds k contiguous numbers to codes of at most `most`; an odd count gets a 0 more. Returns
  // their scale: NaN where one of them is no number or infinite, and then all codes are 0, as where
  // all are below (most + 1) 2^-126.
  float (*round_row)(const float* x, int64_t k, int most, int16_t* codes);
  // The same with as many bits as the row's spread allows: up to 32767 where few of its k <=
  // kDeepest16 numbers are large, since no sum of products with codes of up to kMost16 may pass 31
  // bits. So softmaxes keep the small weights that stand beside one that is nearly 1.
  float (*round_spread)(const float* x, int64_t k, int16_t* codes);
  // Rounds n <= 16 columns of k rows, x[p * ld + j], into a panel; columns beyond n are 0.
  void (*round_columns)(const float* x, int64_t ld, int64_t k, int n, int32_t* panel,
                        float* scales);
  // panel[p * 16 + j] = rows[j * pairs + p] for j < n <= 16, else 0.
  void (*transpose)(int n, int64_t pairs, const int32_t* rows, int32_t* panel);
};

const Micro16& micro16();  // of active_isa()

extern const Micro16 kMicro16Scalar;
#ifndef MOXIE_SCALAR_ONLY
extern const Micro16 kMicro16Avx2;
extern const Micro16 kMicro16Avx512;  // and VNNI
#endif

}  // namespace moxie::kernels
