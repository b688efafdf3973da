#pragma once
// The innermost loops of products of packed tiles into f32 sums (gemm_tiles.cpp, the attention of
// many rows), one table for what the tiles hold and an instruction set: numbers of bf16 on AMX, by
// AVX-512 BF16's dot products, by FMAs of AVX-512 and as the plain reference; 8-bit integers on
// AVX-512 VNNI and as the reference.
//
// Operands stand in tiles of 1 KiB, the layout that AMX multiplies (Intel, "Intel Architecture
// Instruction Set Extensions", TDPBF16PS): 16 lines and 32 k's. A line is a row of A or a column of
// B. A tile of A holds line after line; a tile of B 16 pairs of k's, in each of which the two k's
// of a line stand side by side. A band is 32 lines: at each 32 k's the tile of its first 16 lines,
// then that of the others. Lines and k's beyond those given are 0.
//
// Tiles of 8-bit integers are smaller, and follow each other in the same order without gaps, which
// would leave sets of L1 unused. Numbers of a line that share a scale of f32 are codes of at most
// 127, rounded as quant/int8.h rounds activations: 32 of A, up to 128 of B, those that are packed
// in one call. Or B's are the codes of a quantised weight as they stand, with the scales, and where
// there are such the minima, of its own groups of 32. Products of codes are summed exactly in 32
// numbers along k and then in f32, on every instruction set the same bits: part = fma(a's scale,
// codes, part) in a block of B; at its end sum = fma(part, b's scale, sum), then sum = fma(a's sum,
// b's minimum, sum). Such blocks with scales that are powers of two are MXINT8 (Rouhani et al.,
// 2023, "Microscaling Data Formats for Deep Learning"). On CPUs without AMX they are multiplied at
// nearly twice the speed of bf16, or more.
#include <cstdint>

#include "tensor/dtype.h"

namespace moxie::kernels {

inline constexpr int64_t kLines = 16;  // of a tile
inline constexpr int64_t kTileDepth = 32;
inline constexpr int64_t kTileSize = kLines * kTileDepth;
inline constexpr int64_t kBandLines = 2 * kLines;
inline constexpr int64_t kTilePair = 2 * kTileSize;  // of a band at 32 k's

// kInt8Wide is kInt8 whose A shares scales as B does, in the same blocks, for gradients: without
// minima, and 1.08 times as fast.
enum class Tiles { kBF16, kInt8, kInt8Wide };
constexpr bool is_int8(Tiles kind) {
  return kind != Tiles::kBF16;
}

// Tiles of 8-bit integers. Those of B hold code + 128 by fours of k's: four of a line side by side.
struct [[gnu::may_alias]] Int8TileA {
  int8_t codes[kLines][kTileDepth];
  float scales[kLines];
  int32_t starts[kLines];  // -128 times the sum of the line's codes: what B's 128 add; of a wide
                           // block those of all of it, in its first tile
  float sums[kLines];      // scale times this sum
};
struct [[gnu::may_alias]] Int8TileB {
  uint8_t codes[kTileDepth / 4][kLines][4];
  float scales[kLines];  // of a block, in its last tile
  float minima[kLines];
  int32_t ends_block, has_minima;
  int32_t is_half;  // the second half of the k's is not there: nor has A numbers in it but zeros
  int32_t unused[13];
};
inline constexpr int64_t kInt8Block = 128;  // numbers of B along k that share a scale
// k is cut in multiples of this, so that no block is.
constexpr int64_t least_depth(Tiles kind) {
  return kind == Tiles::kInt8Wide ? kInt8Block : kTileDepth;
}

// What a tile takes, of A or of B, in numbers of bf16, and a pair of them.
static_assert(sizeof(Int8TileA) == sizeof(Int8TileB));
constexpr int64_t tile_size(Tiles kind) {
  return kind == Tiles::kBF16 ? kTileSize : int64_t{sizeof(Int8TileA)} / 2;
}
constexpr int64_t pair_size(Tiles kind) {
  return 2 * tile_size(kind);
}

// c[i, j] (+)= alpha sum_k a[i, k] b[k, j] for i < rows <= 32 and j < cols <= 32.
struct TileBlock {
  int64_t rows, cols;
  int64_t depth;      // tiles along k
  const BFloat16* a;  // a band; its second tiles are read only where there are more than 16 rows
  const BFloat16* b;  // likewise
  float* c;
  int64_t ldc;
  float alpha;
  bool accumulate;
  bool goes_on = false;  // the next block is the one to the right, and c is not in the cache
};

enum class Side { kA, kB, kWideA };  // kWideA: of Tiles::kInt8Wide
constexpr Side left_side(Tiles kind) {
  return kind == Tiles::kInt8Wide ? Side::kWideA : Side::kA;
}

struct MicroTiles {
  void (*multiply)(const TileBlock& block);
  // Rounds and packs `lines` <= 32 lines of k numbers each into a band, whose second tiles are not
  // written where there are no more than 16: of `along` number p of line i stands at
  // src[i * ld + p], of `across` at src[p * ld + i].
  void (*along)(const float* src, int64_t ld, int64_t lines, int64_t k, Side side, BFloat16* band);
  void (*across)(const float* src, int64_t ld, int64_t lines, int64_t k, Side side, BFloat16* band);
  void (*along_bf16)(const BFloat16* src, int64_t ld, int64_t lines, int64_t k, Side side,
                     BFloat16* band);
  void (*across_bf16)(const BFloat16* src, int64_t ld, int64_t lines, int64_t k, Side side,
                      BFloat16* band);
  // The 32 numbers of the 32 lines of two tiles of A as lines of B, of bf16 whatever A holds:
  // number p of line i becomes number i of line p.
  void (*turn)(const BFloat16* a, BFloat16* b);
  // multiply of a in bf16 with a b of which block.b points to the first tiles of A, `step` numbers
  // apart, that turn would make tiles of B of, rounded or not; null: turn it first.
  void (*multiply_turned)(const TileBlock& block, int64_t step);
  // A thread enters before it multiplies and leaves afterwards.
  void (*enter)();
  void (*leave)();
};

const MicroTiles& micro_bf16();                      // of active_isa()
const MicroTiles& micro_int8(bool is_wide = false);  // likewise; of Tiles::kInt8Wide
inline const MicroTiles& micro_tiles(Tiles tiles) {
  return is_int8(tiles) ? micro_int8(tiles == Tiles::kInt8Wide) : micro_bf16();
}
bool int8_tiles_are_fastest();  // on this CPU, of all products of many rows

// A thread multiplies tiles of bf16 while one of these lives on it.
class TileScope {
 public:
  TileScope() { micro_bf16().enter(); }
  ~TileScope() { micro_bf16().leave(); }
  TileScope(const TileScope&) = delete;
  TileScope& operator=(const TileScope&) = delete;
};

extern const MicroTiles kMicroBF16Scalar;
extern const MicroTiles kMicroInt8Scalar;
extern const MicroTiles kMicroInt8WideScalar;
#ifndef MOXIE_SCALAR_ONLY
extern const MicroTiles kMicroInt8Avx512;
extern const MicroTiles kMicroInt8WideAvx512;
extern const MicroTiles kMicroBF16Avx512;
extern const MicroTiles kMicroBF16Fma;
extern const MicroTiles kMicroBF16Amx;
void multiply_fma(const TileBlock& block);                       // kMicroBF16Fma's multiply
void multiply_turned_fma(const TileBlock& block, int64_t step);  // multiply_turned of 8-bit tiles
#endif

}  // namespace moxie::kernels
