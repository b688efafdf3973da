
#include "kernels/micro_tiles_avx512.h"

namespace moxie::kernels {
namespace {

// c of 32 x 32 in four tiles: a and b pass through two each. The caller goes on with the same a, so
// that b, which is read once, had better not push it out of L1.
template <int kA, int kB>
void sum_tiles(const TileBlock& t) {
  const BFloat16* a = t.a;
  const BFloat16* b = t.b;
  // Rows of c stand too far apart for the CPU to foresee: the columns that come next are asked for.
  const char* next = reinterpret_cast<const char*>(t.c + 32);
  const int64_t step = t.ldc * 4;
  const int64_t rows_a_tile = t.goes_on ? (16 * kA + t.depth - 1) / t.depth : 0;
  int64_t asked = 0;
  for (int64_t p = 0; p < t.depth; ++p) {
    const int64_t stop = std::min<int64_t>(16 * kA, asked + rows_a_tile);
    for (; asked < stop; ++asked) {
      __builtin_prefetch(next, 1);
      __builtin_prefetch(next + 64, 1);
      next += step;
    }
    _tile_stream_loadd(6, b, 64);
    _tile_loadd(4, a, 64);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (kB > 1) {
      _tile_stream_loadd(7, b + kTileSize, 64);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (kA > 1) {
      _tile_loadd(5, a + kTileSize, 64);
      _tile_dpbf16ps(2, 5, 6);
    }
    if constexpr (kA > 1 && kB > 1) _tile_dpbf16ps(3, 5, 7);
    a += 2 * kTileSize;
    b += 2 * kTileSize;
  }
}

// Where it is not scaled a sum goes on from c, so that an element's bits do not depend on how many
// rows and columns come along: those of a block that is not whole go through memory of their own.
template <int kA, int kB>
void multiply_tiles(const TileBlock& t) {
  const bool continues = t.accumulate && t.alpha == 1;
  const bool is_whole = t.rows == 16 * kA && t.cols == 16 * kB && t.alpha == 1;
  alignas(64) float sums[32 * 32];
  float* to = is_whole ? t.c : sums;
  const int64_t ld = is_whole ? t.ldc : 32;
  const auto step = static_cast<size_t>(ld * 4);
  if (continues && !is_whole) load_sums(t, sums);
  if (continues) {
    _tile_loadd(0, to, step);
    if constexpr (kB > 1) _tile_loadd(1, to + 16, step);
    if constexpr (kA > 1) _tile_loadd(2, to + 16 * ld, step);
    if constexpr (kA > 1 && kB > 1) _tile_loadd(3, to + 16 * ld + 16, step);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  sum_tiles<kA, kB>(t);
  _tile_stored(0, to, step);
  if constexpr (kB > 1) _tile_stored(1, to + 16, step);
  if constexpr (kA > 1) _tile_stored(2, to + 16 * ld, step);
  if constexpr (kA > 1 && kB > 1) _tile_stored(3, to + 16 * ld + 16, step);
  if (!is_whole) store_sums(t, sums, t.rows, t.c, t.accumulate && !continues);
}

void multiply(const TileBlock& t) {
  if (t.rows > 16) {
    t.cols > 16 ? multiply_tiles<2, 2>(t) : multiply_tiles<2, 1>(t);
  } else {
    t.cols > 16 ? multiply_tiles<1, 2>(t) : multiply_tiles<1, 1>(t);
  }
}

struct alignas(64) TileConfig {  // palette 1: eight tiles of 16 rows of 64 bytes
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Not a local: GCC's intrinsic declares to read its first 8 bytes alone.
const TileConfig kConfig;

void enter() {
  _tile_loadconfig(&kConfig);
}

void leave() {
  _tile_release();
}

}  // namespace

const MicroTiles kMicroBF16Amx{
    multiply, along<float>, across<float>, along<BFloat16>, across<BFloat16>, turn,
    nullptr,  enter,        leave};

}  // namespace moxie::kernels
