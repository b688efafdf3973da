#pragma once
// The innermost loops of products in 8-bit integers (gemm8.cpp), one table an instruction set; all
// of them give the same bits. Numbers along k share a scale, x ~ scale * code, in blocks of up to
// kDepth8. |code| is at most kMostA8 in A, whose codes are stored with kMostA8 added, and at most
// kMostB8 in B: so the products of four pairs fit 16 bits (2 * 63 * 65 * 4 < 2^15), and AVX2 adds
// them before it widens the sum to 32, 64 multiply-adds in five instructions (vpmaddubsw,
// vpmaddubsw, vpaddw, vpmaddwd, vpaddd).
#include <cstdint>

namespace moxie::kernels {

inline constexpr int kMostA8 = 63;
inline constexpr int kMostB8 = 65;
inline constexpr int kMostPositive8 = 2 * kMostA8;  // of codes of A that are stored as they are
inline constexpr int64_t kDepth8 = 128;
inline constexpr int64_t kStep8 = 8;  // a block's depth is a multiple of this, codes beyond k are 0
inline constexpr int kCols8 = 16;     // columns of a panel of B
inline constexpr int64_t kBlocksOfPart8 = 16;  // of a panel: 32 KiB pass through L1 a strip

// A block of a panel is its codes, [depth / 4, 16, 4], and behind them:
struct Block8 {
  float scales[kCols8];
  int32_t starts[kCols8];  // what sums begin with: -kMostA8 times the sum of the column's codes,
                           // or 0 where A's are positive and stored as they are
};
constexpr int64_t block8_bytes(int64_t depth) {
  return depth * kCols8 + int64_t{sizeof(Block8)};
}

// c[i, j] (+)= sum over blocks of a_scale[i] b_scale[j] sum of codes, for i < r and j < n.
struct Tile8 {
  int r, n;
  int64_t blocks, depth, last_depth;  // of a block, and of the last one
  const uint8_t* a;                   // rows a_row bytes apart, a code a byte, block after block
  int64_t a_row;
  const float* a_scales;  // [r, blocks], rows scales_row apart
  int64_t scales_row;
  const int8_t* b;  // a panel: block after block
  float* c;
  int64_t ldc;
  bool accumulate;
};

struct Micro8 {
  int rows;  // most rows of a tile
  void (*tile)(const Tile8& tile);
  // Rounds k <= kDepth8 contiguous numbers; codes up to a multiple of kStep8 are written. Returns
  // their scale: NaN where one of them is no number or infinite, and then all codes are 0, as where
  // all are too small (rounding.h).
  float (*round_row)(const float* x, int64_t k, uint8_t* codes);
  // The same of numbers from 0 on, whose codes are at most kMostPositive8 and nothing is added to.
  float (*round_positive)(const float* x, int64_t k, uint8_t* codes);
  // Rounds n <= 16 columns of k <= kDepth8 rows, x[p * ld + j], into a block of this depth; columns
  // beyond n are 0.
  void (*round_columns)(const float* x, int64_t ld, int64_t k, int n, int64_t depth, int8_t* block);
};

const Micro8& micro8();  // of active_isa()

extern const Micro8 kMicro8Scalar;
#ifndef MOXIE_SCALAR_ONLY
extern const Micro8 kMicro8Avx2;
#endif

}  // namespace moxie::kernels
