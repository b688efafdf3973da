#ifndef MOXIE_SCALAR_ONLY
#include <immintrin.h>

#include <algorithm>
#include <cmath>

#include "kernels/exp_avx512.h"
#include "kernels/fused_bf16.h"
#include "kernels/micro_tiles_avx512.h"

namespace moxie::kernels {
namespace {

float largest(const float* s, int64_t n) {
  __m512 low = _mm512_loadu_ps(s);
  __m512 high = _mm512_loadu_ps(s + 16);
  for (int64_t j = 32; j < n; j += 32) {
    low = _mm512_max_ps(low, _mm512_loadu_ps(s + j));
    high = _mm512_max_ps(high, _mm512_loadu_ps(s + j + 16));
  }
  return _mm512_reduce_max_ps(_mm512_max_ps(low, high));
}

void soften(const float* s, int64_t stride, int64_t rows, int64_t n, float* most, float* total,
            float* shrink, BFloat16* w) {
  // Of all rows first, so that no exponential waits for a maximum.
  for (int64_t r = 0; r < rows; ++r) {
    shrink[r] = most[r];
    most[r] = std::max(most[r], largest(s + r * stride, n));
  }
  for (int64_t r = 0; r < rows; ++r, s += stride, w += kTileDepth) {
    const bool is_blind = most[r] == -INFINITY;
    const __m512 shift = _mm512_set1_ps(is_blind ? 0.0f : most[r] * kLog2E);
    __m512 sum[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    BFloat16* to = w;
    for (int64_t j = 0; j < n; j += 32, to += kTilePair) {
      const __m512 low = exp_below(_mm512_loadu_ps(s + j), shift);
      const __m512 high = exp_below(_mm512_loadu_ps(s + j + 16), shift);
      sum[0] = _mm512_add_ps(sum[0], low);
      sum[1] = _mm512_add_ps(sum[1], high);
      _mm512_store_si512(to, rounded(low, high));
    }
    shrink[r] = shrink[r] == most[r] ? 1.0f : std::exp(shrink[r] - most[r]);
    total[r] = total[r] * shrink[r] + _mm512_reduce_add_ps(_mm512_add_ps(sum[0], sum[1]));
  }
}

void transpose(const float* from, int64_t ld, int64_t rows, int64_t cols, float* to) {
  for (int64_t i = 0; i < rows; i += 16) {
    for (int64_t c = 0; c < cols; c += 16) {
      const __mmask16 in = first_lanes(rows - i);
      const __mmask16 out = first_lanes(cols - c);
      __m512i lines[16];
      for (int64_t k = 0; k < 16; ++k) {
        const __mmask16 mask = c + k < cols ? in : 0;
        lines[k] = _mm512_maskz_loadu_epi32(mask, from + (c + k) * ld + i);
      }
      __m512i turned[16];
      transpose_words(lines, turned);
      for (int64_t k = 0; k < std::min<int64_t>(16, rows - i); ++k)
        _mm512_mask_storeu_epi32(to + (i + k) * cols + c, out, turned[k]);
    }
  }
}

}  // namespace

void score_gradients_bf16_avx512(const ScoreBand& t, const ScoreTiles& tiles) {
  for (int64_t r = 0; r < kBandLines; r += 2) {
    __m512 shift[2];
    __m512 delta[2];
    int64_t begin[2] = {};
    int64_t end[2] = {};  // of a row that is not there: it sees nothing
    const float* s[2] = {t.s, t.s};
    const float* dp[2] = {t.dp, t.dp};
    for (int64_t i = 0; i < 2; ++i) {
      const bool is_there = r + i < t.rows;
      shift[i] = _mm512_set1_ps(is_there ? t.lse[r + i] * kLog2E : 0.0f);
      delta[i] = _mm512_set1_ps(is_there ? t.delta[r + i] : 0.0f);
      if (!is_there) continue;
      begin[i] = t.begin[r + i] - t.first;
      end[i] = t.end[r + i] - t.first;
      s[i] = t.s + (r + i) * t.stride;
      dp[i] = t.dp + (r + i) * t.stride;
    }
    BFloat16* along = tiles.ds + r * kTileDepth;
    int64_t down = r / 2 * 2 * kLines;
    for (int64_t j = 0; j < t.n; j += 32, along += kTilePair, down += tiles.step) {
      __m512 p[2][2];
      __m512 ds[2][2];
      for (int i = 0; i < 2; ++i) {
        for (int half = 0; half < 2; ++half) {
          const int64_t at = j + 16 * half;
          const __mmask16 mask = seen(begin[i], end[i], at);
          p[i][half] = _mm512_maskz_mov_ps(mask, exp_below(_mm512_loadu_ps(s[i] + at), shift[i]));
          ds[i][half] = _mm512_maskz_mul_ps(mask, p[i][half],
                                            _mm512_sub_ps(_mm512_loadu_ps(dp[i] + at), delta[i]));
        }
        _mm512_store_si512(along + i * kTileDepth, rounded(ds[i][0], ds[i][1]));
      }
      for (int half = 0; half < 2; ++half) {
        const int64_t at = down + half * kTileSize;
        _mm512_store_si512(tiles.p_down + at, paired(p[0][half], p[1][half]));
        _mm512_store_si512(tiles.ds_down + at, paired(ds[0][half], ds[1][half]));
      }
    }
  }
}

const FusedAttention kFusedAttentionAvx512{soften, transpose};

}  // namespace moxie::kernels
#endif
