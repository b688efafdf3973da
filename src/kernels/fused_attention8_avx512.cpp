#ifndef MOXIE_SCALAR_ONLY
#include <immintrin.h>

#include "kernels/exp_avx512.h"
#include "kernels/fused_bf16.h"
#include "kernels/int8_tiles_avx512.h"

namespace moxie::kernels {
namespace {

// p and ds of 32 queries and 32 keys from key j of the band on, row by row.
void gradients_of_block(const ScoreBand& t, int64_t j, float* p, float* ds) {
  for (int64_t r = 0; r < kBandLines; ++r, p += kBandLines, ds += kBandLines) {
    const bool is_there = r < t.rows;
    const __m512 shift = _mm512_set1_ps(is_there ? t.lse[r] * kLog2E : 0.0f);
    const __m512 delta = _mm512_set1_ps(is_there ? t.delta[r] : 0.0f);
    for (int64_t at = 0; at < kBandLines; at += 16) {
      const __mmask16 mask = is_there ? seen(t.begin[r], t.end[r], t.first + j + at) : 0;
      const int64_t from = (is_there ? r : 0) * t.stride + j + at;
      const __m512 e = _mm512_maskz_mov_ps(mask, exp_below(_mm512_loadu_ps(t.s + from), shift));
      _mm512_store_ps(p + at, e);
      _mm512_store_ps(ds + at, _mm512_maskz_mul_ps(
                                   mask, e, _mm512_sub_ps(_mm512_loadu_ps(t.dp + from), delta)));
    }
  }
}

}  // namespace

void score_gradients_int8_avx512(const ScoreBand& t, const ScoreTiles& tiles) {
  constexpr Span kAll{0, kTileDepth};
  alignas(64) float p[kBlockNumbers], ds[kBlockNumbers];
  for (int64_t j = 0; j < t.n; j += kBandLines) {
    gradients_of_block(t, j, p, ds);
    const int64_t down = j / kBandLines * tiles.step;
    for (int64_t first = 0; first < kBandLines; first += kLines) {
      const auto lines = [&](int i, int64_t, __m512& low, __m512& high) {
        const float* line = ds + (first + i) * kBandLines;
        low = _mm512_load_ps(line);
        high = _mm512_load_ps(line + 16);
      };
      along_block(lines, kAll, Side::kA, first > 0, tile_at(tiles.ds, j, false));
      const auto columns_of = [first](const float* numbers) {
        return [=](int64_t row) { return _mm512_load_ps(numbers + row * kBandLines + first); };
      };
      across_block(columns_of(p), kAll, Side::kB, first > 0, tiles.p_down + down);
      across_block(columns_of(ds), kAll, Side::kB, first > 0, tiles.ds_down + down);
    }
  }
}

}  // namespace moxie::kernels
#endif
