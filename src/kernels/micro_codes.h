#pragma once
// The innermost loops of products of 8-bit integers on AMX, whose sums have one scale a row and a
// column over hundreds of numbers: twice as many multiply-adds an instruction as of bf16.
//
// A tile of 1 KiB holds 16 lines and 64 k's (Intel, "Intel Architecture Instruction Set
// Extensions", TDPBSSD): of A line after line, of B 16 fours of k's, in each of which the four k's
// of a line stand side by side. They are made of bands of bf16 (micro_tiles.h): the largest
// magnitude of a line becomes 127. Sums are exact in 32 bits, then times both scales in f32: the
// bits are the same on every instruction set.
#include <cstdint>

#include "kernels/micro_tiles.h"

namespace moxie::kernels {

inline constexpr int64_t kCodesDepth = 64;                       // k's of a tile
inline constexpr int64_t kCodesPair = 2 * kLines * kCodesDepth;  // bytes of a band at 64 k's

// Codes of a band, 32 lines: at each 64 k's the tile of its first 16 lines, then that of the
// others.
struct Codes {
  int8_t* tiles;
  float* scales;  // [32]
};

// c[i, j] (+)= a's scale i, b's scale j and the sum of products of codes, for i < rows <= 32 and
// j < cols <= 32.
struct CodedBlock {
  int64_t rows, cols;
  int64_t depth;  // tiles along k
  Codes a, b;
  float* c;
  int64_t ldc;
  bool accumulate;
};

struct MicroCodes {
  // Of `tiles` pairs of tiles of bf16 along k, two of which make one of codes.
  void (*code)(const BFloat16* band, int64_t tiles, Side side, const Codes& codes);
  void (*multiply)(const CodedBlock& block);  // within a TileScope
};

const MicroCodes& micro_codes();  // of active_isa()
bool codes_are_fastest();         // on this CPU, of all products of many rows

extern const MicroCodes kMicroCodesScalar;
#ifndef MOXIE_SCALAR_ONLY
extern const MicroCodes kMicroCodesAmx;
#endif

}  // namespace moxie::kernels
