// Tiles of bf16 where bf16_runs_on_fma(): both factors are widened to f32, four tiles along k at a
// time, and multiplied by its register tile.
#ifndef MOXIE_SCALAR_ONLY
#include "kernels/micro.h"
#include "kernels/micro_tiles_avx512.h"

namespace moxie::kernels {
namespace {

constexpr int64_t kWide = 4;  // tiles along k: 16 KiB of either factor
constexpr int64_t kWideDepth = kWide * kTileDepth;

struct WideBlock {
  alignas(64) float a[kBandLines][kWideDepth];  // in each tile even k's, then odd ones
  alignas(64) float b[kWideDepth][kBandLines];  // likewise
};

void widen_a(const TileBlock& t, int64_t first, int64_t tiles, WideBlock& wide) {
  for (int64_t p = 0; p < tiles; ++p) {
    const BFloat16* tile = t.a + (first + p) * kTilePair;
    for (int64_t i = 0; i < t.rows; ++i) {  // the second tile follows the first
      const __m512i pairs = _mm512_loadu_si512(tile + i * kTileDepth);
      float* to = wide.a[i] + p * kTileDepth;
      _mm512_store_ps(to, evens(pairs));
      _mm512_store_ps(to + 16, odds(pairs));
    }
  }
}

void widen_b(const TileBlock& t, int64_t first, int64_t tiles, WideBlock& wide) {
  for (int64_t p = 0; p < tiles; ++p) {
    const BFloat16* tile = t.b + (first + p) * kTilePair;
    float(*to)[kBandLines] = wide.b + p * kTileDepth;
    for (int64_t half = 0; half < 2; ++half, tile += kTileSize) {
      const auto is_there = static_cast<__mmask16>(half * kLines < t.cols ? 0xFFFF : 0);
      for (int64_t q = 0; q < kTileDepth / 2; ++q) {
        const __m512i pairs = _mm512_maskz_loadu_epi32(is_there, tile + 2 * kLines * q);
        _mm512_store_ps(to[q] + half * kLines, evens(pairs));
        _mm512_store_ps(to[q + kTileDepth / 2] + half * kLines, odds(pairs));
      }
    }
  }
}

// B's lines along k as rows of 8-bit codes.
void widen_rows(const BFloat16* band, float (*to)[kBandLines]) {
  const auto* tiles = reinterpret_cast<const Int8TileA*>(band);
  for (int64_t line = 0; line < kBandLines; ++line) {
    float* row = to[line / 2 + line % 2 * (kTileDepth / 2)];
    for (int64_t j = 0; j < kBandLines; j += kLines)
      _mm512_store_ps(row + j, numbers_of(tiles[line / kLines], line % kLines, j));
  }
}

// What was widened of a block, from tile `first` of it on.
void multiply_wide(const TileBlock& t, int64_t first, int64_t tiles, const WideBlock& wide) {
  const int64_t strips = (t.rows + kMicroAvx512.rows - 1) / kMicroAvx512.rows;
  for (int64_t s = 0; s < strips; ++s) {
    const int64_t i = t.rows * s / strips;
    const int64_t end = t.rows * (s + 1) / strips;
    kMicroAvx512.tile(static_cast<int>(end - i), static_cast<int>(t.cols), tiles * kTileDepth,
                      wide.a[i], kWideDepth, 1, wide.b[0], kBandLines, t.c + i * t.ldc, t.ldc,
                      t.alpha, t.accumulate || first > 0);
  }
}

template <class WidenB>
void multiply_with(const TileBlock& t, const WidenB& widen) {
  WideBlock wide;
  for (int64_t first = 0; first < t.depth; first += kWide) {
    const int64_t tiles = std::min(kWide, t.depth - first);
    widen_a(t, first, tiles, wide);
    widen(first, tiles, wide);
    multiply_wide(t, first, tiles, wide);
  }
}

}  // namespace

void multiply_fma(const TileBlock& t) {
  multiply_with(
      t, [&](int64_t first, int64_t tiles, WideBlock& wide) { widen_b(t, first, tiles, wide); });
}

void multiply_turned_fma(const TileBlock& t, int64_t step) {
  multiply_with(t, [&](int64_t first, int64_t tiles, WideBlock& wide) {
    for (int64_t p = 0; p < tiles; ++p)
      widen_rows(t.b + (first + p) * step, wide.b + p * kTileDepth);
  });
}

}  // namespace moxie::kernels
#endif
