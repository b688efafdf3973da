#pragma once
// The innermost loops of products of bf16 numbers into f32 sums (gemm_bf16.cpp, the attention of
// many rows in bf16), one table an instruction set: AMX, AVX-512 BF16 and the plain reference.
//
// Operands stand in tiles of 1 KiB, the layout that AMX multiplies (Intel, "Intel Architecture
// Instruction Set Extensions", TDPBF16PS): 16 lines and 32 k's. A line is a row of A or a column of
// B. A tile of A holds line after line; a tile of B 16 pairs of k's, in each of which the two k's
// of a line stand side by side. A band is 32 lines: at each 32 k's the tile of its first 16 lines,
// then that of the others. Lines and k's beyond those given are 0.
#include <cstdint>

#include "tensor/dtype.h"

namespace moxie::kernels {

inline constexpr int64_t kLines = 16;  // of a tile
inline constexpr int64_t kTileDepth = 32;
inline constexpr int64_t kTileSize = kLines * kTileDepth;
inline constexpr int64_t kBandLines = 2 * kLines;
inline constexpr int64_t kTilePair = 2 * kTileSize;  // of a band at 32 k's

// c[i, j] (+)= alpha sum_k a[i, k] b[k, j] for i < rows <= 32 and j < cols <= 32.
struct BlockBF16 {
  int rows, cols;
  int64_t depth;      // tiles along k
  const BFloat16* a;  // a band; its second tiles are read only where there are more than 16 rows
  const BFloat16* b;  // likewise
  float* c;
  int64_t ldc;
  float alpha;
  bool accumulate;
  bool goes_on = false;  // the next block is the one to the right, and c is not in the cache
};

enum class Side { kA, kB };

struct MicroBF16 {
  void (*multiply)(const BlockBF16& block);
  // Rounds to nearest even and packs `lines` <= 32 lines of k numbers each into a band, whose
  // second tiles are not written where there are no more than 16: of `along` number p of line i
  // stands at src[i * ld + p], of `across` at src[p * ld + i].
  void (*along)(const float* src, int64_t ld, int64_t lines, int64_t k, Side side, BFloat16* band);
  void (*across)(const float* src, int64_t ld, int64_t lines, int64_t k, Side side, BFloat16* band);
  void (*along_bf16)(const BFloat16* src, int64_t ld, int64_t lines, int64_t k, Side side,
                     BFloat16* band);
  void (*across_bf16)(const BFloat16* src, int64_t ld, int64_t lines, int64_t k, Side side,
                      BFloat16* band);
  // The 32 numbers of the 32 lines of two tiles of A as lines of B: number p of line i becomes
  // number i of line p.
  void (*turn)(const BFloat16* a, BFloat16* b);
  // A thread enters before it multiplies and leaves afterwards.
  void (*enter)();
  void (*leave)();
};

const MicroBF16& micro_bf16();  // of active_isa()

// A thread multiplies while one of these lives on it.
class TileScope {
 public:
  TileScope() { micro_bf16().enter(); }
  ~TileScope() { micro_bf16().leave(); }
  TileScope(const TileScope&) = delete;
  TileScope& operator=(const TileScope&) = delete;
};

extern const MicroBF16 kMicroBF16Scalar;
#ifndef MOXIE_SCALAR_ONLY
extern const MicroBF16 kMicroBF16Avx512;
extern const MicroBF16 kMicroBF16Amx;
#endif

}  // namespace moxie::kernels
