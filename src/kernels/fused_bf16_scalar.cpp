#include <algorithm>
#include <cmath>
#include <vector>

#include "base/cpu.h"
#include "kernels/fused_bf16.h"

namespace moxie::kernels {

const FusedTiles& fused(Tiles tiles) {
#ifndef MOXIE_SCALAR_ONLY
  if (is_int8(tiles) && &micro_int8() == &kMicroInt8Avx512) return kFusedInt8Avx512;
  if (tiles == Tiles::kBF16 && has_bf16_tiles()) return kFusedBF16Avx512;
#endif
  return is_int8(tiles) ? kFusedInt8Scalar : kFusedBF16Scalar;
}

const FusedAttention& fused_attention() {
#ifndef MOXIE_SCALAR_ONLY
  if (has_bf16_tiles()) return kFusedAttentionAvx512;
#endif
  return kFusedAttentionScalar;
}

namespace {

// A pair of tiles of A holds its 32 lines of 32 numbers one after the other.
void round(const float* numbers, BFloat16* tiles) {
  if (tiles == nullptr) return;
  std::transform(numbers, numbers + kBlockNumbers, tiles, to_bfloat16);
}
void round8(const float* numbers, BFloat16* tiles) {
  kMicroInt8Scalar.along(numbers, kBandLines, kBandLines, kBandLines, Side::kA, tiles);
}
using Round = void (*)(const float* numbers, BFloat16* tiles);

void widen(const BFloat16* tiles, float* numbers) {
  std::transform(tiles, tiles + kBlockNumbers, numbers, [](BFloat16 x) { return to_float(x); });
}

template <Round kRound>
void gate(Activation kind, const float* g, const float* u, BFloat16* y, BFloat16* g_kept,
          BFloat16* u_kept) {
  float out[kBlockNumbers];
  row_kernels<float>().gate(kind, g, u, out, kBlockNumbers);
  kRound(out, y);
  round(g, g_kept);
  round(u, u_kept);
}

template <Round kRound>
void gate_backward(Activation kind, const float* dy, const BFloat16* g, const BFloat16* u,
                   BFloat16* dg, BFloat16* du, BFloat16* y) {
  float values[2][kBlockNumbers];
  float gradients[2][kBlockNumbers];
  widen(g, values[0]);
  widen(u, values[1]);
  float out[kBlockNumbers];
  row_kernels<float>().gate_backward(kind, values[0], values[1], dy, gradients[0], gradients[1],
                                     y != nullptr ? out : nullptr, kBlockNumbers);
  kRound(gradients[0], dg);
  kRound(gradients[1], du);
  if (y != nullptr) round(out, y);
}

void settle() {}

template <Round kRound>
void exponentials(const float* s, int64_t cols, float factor, const SoftmaxRows& rows,
                  float* relative, BFloat16* w) {
  float values[kBlockNumbers];
  for (int64_t i = 0; i < kBandLines; ++i, s += kBandLines) {
    float* sums = rows.total + i * 16;
    float most = rows.most[i];
    for (int64_t j = 0; j < cols; ++j) most = std::max(most, factor * s[j]);
    if (most > rows.most[i]) {
      const float shrink = std::exp(rows.most[i] - most);
      for (int64_t lane = 0; lane < 16; ++lane) sums[lane] *= shrink;
      rows.most[i] = most;
    }
    relative[i] = most;
    for (int64_t j = 0; j < kBandLines; ++j) {
      const float e = j < cols ? std::exp(factor * s[j] - most) : 0.0f;
      sums[j % 16] += e;
      values[i * kBandLines + j] = e;
    }
  }
  kRound(values, w);
}

void scale_rows(const float* factors, BFloat16* w) {
  for (int64_t i = 0; i < kBandLines; ++i) {
    for (int64_t j = 0; j < kBandLines; ++j, ++w) *w = to_bfloat16(factors[i] * to_float(*w));
  }
}

void scale_rows8(const float* factors, BFloat16* w) {
  for (int64_t i = 0; i < kBandLines; ++i) {
    auto& tile = reinterpret_cast<Int8TileA*>(w)[i / kLines];
    tile.scales[i % kLines] *= factors[i];
    tile.sums[i % kLines] *= factors[i];
  }
}

template <Tiles kKind>
void score_gradients(const ScoreBand& t, const ScoreTiles& tiles) {
  const MicroTiles& kernel = kKind == Tiles::kBF16 ? kMicroBF16Scalar : kMicroInt8Scalar;
  for (int64_t j = 0; j < t.n; j += kBandLines) {
    float p[kBlockNumbers] = {}, ds[kBlockNumbers] = {};
    for (int64_t r = 0; r < t.rows; ++r) {
      for (int64_t i = 0; i < kBandLines; ++i) {
        const int64_t key = t.first + j + i;
        if (key < t.begin[r] || key >= t.end[r]) continue;
        const int64_t from = r * t.stride + j + i, to = r * kBandLines + i;
        p[to] = std::exp(t.s[from] - t.lse[r]);
        ds[to] = p[to] * (t.dp[from] - t.delta[r]);
      }
    }
    const int64_t down = j / kBandLines * tiles.step;
    kernel.along(ds, kBandLines, kBandLines, kTileDepth, Side::kA,
                 tiles.ds + j / kBandLines * pair_size(kKind));
    kernel.across(p, kBandLines, kBandLines, kTileDepth, Side::kB, tiles.p_down + down);
    kernel.across(ds, kBandLines, kBandLines, kTileDepth, Side::kB, tiles.ds_down + down);
  }
}

void soften(const float* s, int64_t stride, int64_t rows, int64_t n, float* most, float* total,
            float* shrink, BFloat16* w) {
  std::vector<float> values(static_cast<size_t>(rows * n));
  for (int64_t r = 0; r < rows; ++r, s += stride) {
    const float before = most[r];
    most[r] = std::max(before, *std::max_element(s, s + n));
    shrink[r] = before == most[r] ? 1.0f : std::exp(before - most[r]);
    float sum = 0;
    for (int64_t j = 0; j < n; ++j) {
      const float e = std::isinf(most[r]) ? 0.0f : std::exp(s[j] - most[r]);
      sum += e;
      values[static_cast<size_t>(r * n + j)] = e;
    }
    total[r] = total[r] * shrink[r] + sum;
  }
  kMicroBF16Scalar.along(values.data(), n, rows, n, Side::kA, w);
}

void transpose(const float* from, int64_t ld, int64_t rows, int64_t cols, float* to) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t c = 0; c < cols; ++c) to[i * cols + c] = from[c * ld + i];
  }
}

}  // namespace

const FusedTiles kFusedBF16Scalar{gate<round>, gate_backward<round>,
                                  settle,      exponentials<round>,
                                  scale_rows,  score_gradients<Tiles::kBF16>};
const FusedTiles kFusedInt8Scalar{gate<round8>, gate_backward<round8>,
                                  settle,       exponentials<round8>,
                                  scale_rows8,  score_gradients<Tiles::kInt8>};
const FusedAttention kFusedAttentionScalar{soften, transpose};

}  // namespace moxie::kernels
