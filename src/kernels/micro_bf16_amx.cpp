
#include "kernels/micro_tiles_avx512.h"
#include "kernels/tile_config.h"

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

// turn(), but for the order of the columns: of each eight the first four go to the first tile.
void turn_by_fours(const BFloat16* a, BFloat16* b) {
  for (int q = 0; q < 16; ++q, a += 2 * kTileDepth, b += 2 * kLines) {
    const __m512i even = _mm512_loadu_si512(a);
    const __m512i odd = _mm512_loadu_si512(a + kTileDepth);
    _mm512_store_si512(b, _mm512_unpacklo_epi16(even, odd));
    _mm512_store_si512(b + kTileSize, _mm512_unpackhi_epi16(even, odd));
  }
}

// 32 sums of a row in the order of their columns again.
void put_in_order(float* sums) {
  const __m512i low = _mm512_set_epi32(23, 22, 21, 20, 7, 6, 5, 4, 19, 18, 17, 16, 3, 2, 1, 0);
  const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
  const __m512 first = _mm512_load_ps(sums);
  const __m512 second = _mm512_load_ps(sums + 16);
  _mm512_store_ps(sums, _mm512_permutex2var_ps(first, low, second));
  _mm512_store_ps(sums + 16, _mm512_permutex2var_ps(first, high, second));
}

template <int kA>
void multiply_turned_tiles(const TileBlock& t, int64_t step) {
  constexpr int64_t kAhead = 3;  // of what stands far apart and may have been written long ago
  alignas(64) BFloat16 turned[2][kTilePair];
  alignas(64) float sums[32 * 32];
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  const BFloat16* a = t.a;
  const BFloat16* from = t.b;
  for (int64_t p = 0; p < t.depth; ++p, a += kTilePair, from += step) {
    const auto* ahead = reinterpret_cast<const char*>(from + kAhead * step);
    for (int64_t line = 0; line < kBandLines; ++line) __builtin_prefetch(ahead + 64 * line);
    BFloat16* b = turned[p % 2];
    turn_by_fours(from, b);
    _tile_loadd(6, b, 64);
    _tile_loadd(7, b + kTileSize, 64);
    _tile_loadd(4, a, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    if constexpr (kA > 1) {
      _tile_loadd(5, a + kTileSize, 64);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, sums, 128);
  _tile_stored(1, sums + 16, 128);
  if constexpr (kA > 1) _tile_stored(2, sums + 16 * 32, 128);
  if constexpr (kA > 1) _tile_stored(3, sums + 16 * 32 + 16, 128);
  for (int64_t i = 0; i < t.rows; ++i) put_in_order(sums + 32 * i);
  store_sums(t, sums, t.rows, t.c, t.accumulate);
}

void multiply_turned(const TileBlock& t, int64_t step) {
  t.rows > 16 ? multiply_turned_tiles<2>(t, step) : multiply_turned_tiles<1>(t, step);
}

const TileConfig kConfig{.row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
                         .rows = {16, 16, 16, 16, 16, 16, 16, 16}};

void enter() {
  _tile_loadconfig(&kConfig);
}

void leave() {
  _tile_release();
}

}  // namespace

const MicroTiles kMicroBF16Amx{
    multiply,        along<float>, across<float>, along<BFloat16>, across<BFloat16>, turn,
    multiply_turned, enter,        leave};

}  // namespace moxie::kernels
