#pragma once
// What is made of a block of sums while it is in L1: 32 x 32 numbers of f32 become numbers of bf16
// or 8-bit integers in the tiles (micro_tiles.h) that the next product reads. One table each for
// CPUs with AVX-512, and the plain reference. Exponentials and quotients are exact to 1e-5 of
// themselves, a hundredth of what rounding to bf16 costs.
#include <cstdint>

#include "kernels/micro_tiles.h"
#include "kernels/rowwise.h"

namespace moxie::kernels {

inline constexpr int64_t kBlockNumbers = kBandLines * kBandLines;

// Rows of scores that an online softmax has seen part of.
struct SoftmaxRows {
  float* most;   // of each row: what its exponentials are relative to
  float* total;  // of each row, 16 partial sums of them
};

// Scores s and their gradients dp of up to 32 queries, row by row `stride` apart, and n keys, a
// multiple of 32, from key `first` on. A query sees keys [begin, end).
struct ScoreBand {
  const float *s, *dp;
  int64_t stride, rows, n, first;
  const float *lse, *delta;
  const int64_t *begin, *end;
};
// p = exp(s - lse) and ds = p (dp - delta), 0 where a key is not seen: ds as a band of A along the
// keys; both as B, lines of 32 keys along the queries, of which the pairs of tiles stand `step`
// numbers apart.
struct ScoreTiles {
  BFloat16 *ds, *p_down, *ds_down;
  int64_t step;
};

struct FusedTiles {
  // y = f(g) u as a pair of tiles of A. g and u too where they are given, in bf16 whatever tiles
  // are of: what is read again much later is written past the caches, until settle().
  void (*gate)(Activation kind, const float* g, const float* u, BFloat16* y, BFloat16* g_kept,
               BFloat16* u_kept);
  // dg = dy u f'(g), du = dy f(g) as tiles of A, of g and u as they were kept; if these are bf16
  // too, they may stand in the same place. And y once more where it is given, in bf16.
  void (*gate_backward)(Activation kind, const float* dy, const BFloat16* g, const BFloat16* u,
                        BFloat16* dg, BFloat16* du, BFloat16* y);
  // A thread calls this before others read what it wrote.
  void (*settle)();

  // A block of the softmax of 32 rows: w = exp(factor s - m) as a pair of tiles of A, for the first
  // `cols` columns, else 0; m is what the rows are relative to from now on, kept in `relative[32]`.
  void (*exponentials)(const float* s, int64_t cols, float factor, const SoftmaxRows& rows,
                       float* relative, BFloat16* w);
  // w times factors[32], one a row, in place.
  void (*scale_rows)(const float* factors, BFloat16* w);

  void (*score_gradients)(const ScoreBand& scores, const ScoreTiles& tiles);
};

// What attention takes besides, in bf16 alone.
struct FusedAttention {
  // RowKernels::soften of n scores, a multiple of 32; the exponentials become a band of A, w.
  void (*soften)(const float* s, int64_t stride, int64_t rows, int64_t n, float* most, float* total,
                 float* shrink, BFloat16* w);
  // to[i, c] = from[c, i] for i < rows and c < cols; rows of `from` stand ld apart, of `to` end to
  // end.
  void (*transpose)(const float* from, int64_t ld, int64_t rows, int64_t cols, float* to);
};

const FusedTiles& fused(Tiles tiles);     // of active_isa()
const FusedAttention& fused_attention();  // likewise

extern const FusedTiles kFusedBF16Scalar;
extern const FusedTiles kFusedInt8Scalar;
extern const FusedAttention kFusedAttentionScalar;
#ifndef MOXIE_SCALAR_ONLY
extern const FusedTiles kFusedBF16Avx512;
extern const FusedTiles kFusedInt8Avx512;
extern const FusedAttention kFusedAttentionAvx512;
void score_gradients_bf16_avx512(const ScoreBand& scores, const ScoreTiles& tiles);
void score_gradients_int8_avx512(const ScoreBand& scores, const ScoreTiles& tiles);
#endif

}  // namespace moxie::kernels
