#include <algorithm>

#include "base/cpu.h"
#include "base/error.h"
#include "base/threads.h"
#include "kernels/gemm_parts.h"
#include "kernels/micro_tiles.h"
#include "kernels/packed_rows.h"
#include "kernels/scratch.h"

// Products of tiles in the blocking of gemm.cpp: all threads round and pack A first, then each
// rounds and packs the columns of B that it multiplies.
namespace moxie::kernels {

const MicroTiles& micro_bf16() {
#ifndef MOXIE_SCALAR_ONLY
  if (amx_is_active()) return kMicroBF16Amx;
  if (has_bf16_tiles()) return bf16_runs_on_fma() ? kMicroBF16Fma : kMicroBF16Avx512;
#endif
  return kMicroBF16Scalar;
}

namespace {

constexpr int64_t kDeepest = 576;                  // of a block along k: 36 KiB of A pass L1
constexpr int64_t kPanelNumbers = 256 * 1024;      // of B in L2: 512 KiB
constexpr int64_t kOwnNumbers = 384 * 1024;        // of a panel that a thread packs for itself
constexpr int64_t kMostNumbers = 4 * 1024 * 1024;  // of A at a time: 8 MiB
constexpr int64_t kGrainNumbers = 16 * 1024;
constexpr int64_t kPackCost = 192;  // of a column of B, in rows of A that are multiplied meanwhile
constexpr int64_t kManyColumns = 128;  // and columns, for packing to be worth sharing

// A product of packed rows: t says all but A. k0 is where the rows of B begin that A's columns
// meet.
struct PackedProblem {
  const Problem& t;
  const PackedRows& a;
  int64_t k0;
  int64_t depth;                // of a block, a multiple of least_depth(a.kind())
  const float* thin = nullptr;  // B for A's spare numbers, given as B is

  int64_t pair() const { return pair_size(a.kind()); }
  int64_t blocks() const { return ceil_div(a.cols(), depth); }
  bool is_last(int64_t block) const { return (block + 1) * depth >= a.cols(); }
  // Tiles of a block, of which the last has the spare ones as well.
  int64_t tiles(int64_t block) const {
    if (!is_last(block)) return depth / kTileDepth;
    const int64_t spare = thin != nullptr ? a.spare_tiles() : 0;
    return a.tiles() - block * (depth / kTileDepth) + spare;
  }
};

int64_t block_depth(const Problem& t, Tiles kind) {
  return round_up(panel_depth(t, kDeepest), least_depth(kind));
}

void pack_block(const PackedProblem& p, int64_t block, int64_t j0, int64_t j1, BFloat16* panel) {
  const Source& b = p.t.b;
  const int64_t begin = block * p.depth;
  const int64_t end = std::min(p.a.cols(), begin + p.depth);
  const int64_t size = p.tiles(block) * p.pair();
  pack_tiles(b, p.a.kind(), p.k0 + begin, p.k0 + end, j0, j1, size, panel);
  if (!p.is_last(block)) return;
  pack_thin(b, p.thin, p.a.kind(), p.a.spare(), p.t.n, j0, j1, size,
            panel + ceil_div(end - begin, kTileDepth) * p.pair());
}

// Rows [i0, i1) of C with a panel of columns [j0, j1) of B in one block of k.
void strips(const PackedProblem& p, int64_t block, int64_t i0, int64_t i1, int64_t j0, int64_t j1,
            const BFloat16* panel) {
  const Problem& t = p.t;
  const MicroTiles& kernel = micro_tiles(p.a.kind());
  TileBlock part{.rows = 0,
                 .cols = 0,
                 .depth = p.tiles(block),
                 .a = nullptr,
                 .b = nullptr,
                 .c = nullptr,
                 .ldc = t.n,
                 .alpha = t.alpha,
                 .accumulate = t.accumulate || block > 0,
                 .goes_on = true};
  for (int64_t i = i0; i < i1; i += kBandLines) {
    part.rows = std::min(kBandLines, i1 - i);
    part.a = p.a.band(i / kBandLines) + block * (p.depth / kTileDepth) * p.pair();
    part.b = panel;
    for (int64_t c = j0; c < j1; c += kBandLines, part.b += part.depth * p.pair()) {
      part.cols = std::min(kBandLines, j1 - c);
      part.c = t.c + i * t.n + c;
      kernel.multiply(part);
    }
  }
}

int64_t panel_columns(const PackedProblem& p) {
  const int64_t unit = column_unit(p.t, kBandLines);
  const int64_t numbers = packs_for_itself(p.a.kind(), p.t.b) ? kOwnNumbers : kPanelNumbers;
  return std::max(unit, numbers / p.depth / unit * unit);
}

int64_t panel_numbers(const PackedProblem& p, int64_t columns) {
  const int64_t most_tiles = std::max(p.tiles(0), p.tiles(p.blocks() - 1));
  return ceil_div(columns, kBandLines) * most_tiles * p.pair();
}

// One thread's rectangle of C.
void rectangle(const PackedProblem& p, int64_t i0, int64_t i1, int64_t j0, int64_t j1) {
  const TileScope scope;
  const int64_t wide = panel_columns(p);
  const int64_t size = panel_numbers(p, std::min(wide, j1 - j0));
  auto* panel =
      reinterpret_cast<BFloat16*>(scratch(Scratch::kPanels, static_cast<size_t>(size / 2)));
  for (int64_t j = j0; j < j1; j += wide) {
    const int64_t end = std::min(j1, j + wide);
    for (int64_t block = 0; block < p.blocks(); ++block) {
      pack_block(p, block, j, end, panel);
      strips(p, block, i0, i1, j, end, panel);
    }
  }
}

// Many rows: the threads share these, so that a thread finds in its own caches what it wrote of
// other matrices' rows, as whatever works row by row does.
void multiply_by_rows(const PackedProblem& p) {
  const int64_t wide = panel_columns(p);
  multiply_panels(
      {.is_shared = !packs_for_itself(p.a.kind(), p.t.b),
       .bands = p.a.bands(),
       .columns = p.t.n,
       .wide = wide,
       .unit = column_unit(p.t, kBandLines),
       .blocks = p.blocks(),
       .numbers = panel_numbers(p, std::min(wide, p.t.n))},
      [&](const Panel& panel, int64_t block, int64_t from, int64_t to, BFloat16* memory) {
        const int64_t size = p.tiles(block) * p.pair();  // of a band
        pack_block(p, block, from, to, memory + (from - panel.j) / kBandLines * size);
      },
      [&](const Panel& panel, int64_t block, int64_t first, int64_t last, const BFloat16* memory) {
        const TileScope scope;
        strips(p, block, first * kBandLines, std::min(p.t.m, last * kBandLines), panel.j, panel.end,
               memory);
      });
}

void multiply(const PackedProblem& p) {
  if (p.t.n >= kManyColumns && goes_by_rows(p.a.kind(), p.a.bands(), p.t.b))
    return multiply_by_rows(p);
  deal_rectangles(
      p.t, kBandLines, column_unit(p.t, kBandLines), kPackCost,
      [&](int64_t i0, int64_t i1, int64_t j0, int64_t j1) { rectangle(p, i0, i1, j0, j1); });
}

// C of packed rows with B.
void multiply_packed(const PackedRows& a, const Source& b, const float* thin, int64_t n, float* c,
                     float alpha, bool accumulate) {
  if (a.rows() == 0 || n == 0) return;
  MOXIE_ASSERT(a.cols() > 0);
  const Problem t{a.rows(), n, a.cols(), nullptr, 0, 0, b, c, accumulate, alpha};
  multiply({t, a, 0, block_depth(t, a.kind()), thin});
}

// C of one band with rows of k that are packed as an A, which are turned on the way.
void multiply_turned(const PackedRows& a, const PackedRows& b, float alpha, float* c,
                     bool accumulate) {
  const int64_t n = b.cols();
  const int64_t step = (b.tiles() + b.spare_tiles()) * pair_size(b.kind());
  const int64_t grain = ceil_div(kSmallWork, b.rows() * a.rows() * kTileDepth + 1);
  parallel_for(b.tiles(), grain, [&](int64_t first, int64_t last) {
    const TileScope scope;
    for (int64_t tile = first; tile < last; ++tile) {
      const int64_t j = tile * kTileDepth;
      const TileBlock block{.rows = a.rows(),
                            .cols = std::min(kTileDepth, n - j),
                            .depth = a.tiles(),
                            .a = a.band(0),
                            .b = b.band(0) + tile * pair_size(b.kind()),
                            .c = c + j,
                            .ldc = n,
                            .alpha = alpha,
                            .accumulate = accumulate};
      micro_tiles(b.kind()).multiply_turned(block, step);
    }
  });
}

}  // namespace

void multiply_tiles(const Problem& t, Tiles kind) {
  const int64_t depth = block_depth(t, kind);
  const int64_t rows = round_up(t.m, kBandLines);
  const int64_t most = std::max<int64_t>(1, kMostNumbers / (rows * depth)) * depth;
  for (int64_t k0 = 0; k0 < t.k; k0 += most) {
    PackedRows a(t.m, std::min(most, t.k - k0), 0, kind);
    a.pack(t.a + k0 * t.a_step, t.a_row, t.a_step);
    Problem part = t;
    part.accumulate = t.accumulate || k0 > 0;
    multiply({part, a, k0, depth});
  }
}

PackedRows::PackedRows(int64_t rows, int64_t cols, int64_t spare, Tiles kind)
    : rows_(rows), cols_(cols), spare_(spare), kind_(kind) {
  memory_ = Tensor::empty({bands() * (tiles() + spare_tiles()) * pair_size(kind)}, DType::kBF16);
}

BFloat16* PackedRows::band(int64_t index) const {
  return memory_.data<BFloat16>() + index * (tiles() + spare_tiles()) * pair_size(kind_);
}

void PackedRows::pack(const float* src, int64_t row, int64_t step) {
  const MicroTiles& kernel = micro_tiles(kind_);
  const int64_t grain = std::max<int64_t>(1, kGrainNumbers / (kBandLines * std::max(cols_, 1L)));
  const auto lines_of = [&](int64_t index) {
    return std::min(kBandLines, rows_ - index * kBandLines);
  };
  parallel_for(bands(), grain, [&](int64_t begin, int64_t end) {
    // Numbers that stand side by side in memory are read together: where these are of different
    // lines, as many k's as share scales of all bands before the next.
    const int64_t depth = step == 1 ? cols_ : least_depth(kind_);
    const auto pack = step == 1 ? kernel.along : kernel.across;
    const int64_t ld = step == 1 ? row : step;
    for (int64_t p = 0; p < cols_; p += depth) {
      for (int64_t index = begin; index < end; ++index) {
        pack(src + p * step + index * kBandLines * row, ld, lines_of(index),
             std::min(depth, cols_ - p), left_side(kind_),
             band(index) + p / kTileDepth * pair_size(kind_));
      }
    }
    // What turns a band reads all of it.
    for (int64_t index = begin; index < end; ++index) {
      for (int64_t tile = 0; lines_of(index) <= kLines && tile < tiles(); ++tile) {
        std::fill_n(band(index) + tile * pair_size(kind_) + tile_size(kind_), tile_size(kind_),
                    BFloat16{});
      }
    }
  });
}

void PackedRows::set_spare(const float* h, float factor) {
  const MicroTiles& kernel = micro_tiles(kind_);
  parallel_for(bands(), 16, [&](int64_t begin, int64_t end) {
    float* scaled = scratch(Scratch::kRows, static_cast<size_t>(kBandLines * spare_));
    for (int64_t index = begin; index < end; ++index) {
      const int64_t i = index * kBandLines;
      const int64_t lines = std::min(kBandLines, rows_ - i);
      for (int64_t at = 0; at < lines * spare_; ++at) scaled[at] = factor * h[i * spare_ + at];
      kernel.along(scaled, spare_, lines, spare_, left_side(kind_),
                   band(index) + tiles() * pair_size(kind_));
    }
  });
}

void multiply_nt(const PackedRows& a, int64_t n, const RowDecoder& w, const float* thin, float* c,
                 bool accumulate) {
  multiply_packed(a, {.decoder = &w, .is_transposed = true, .ld = a.cols()}, thin, n, c, 1,
                  accumulate);
}

void multiply_nt(const PackedRows& a, int64_t n, const float* b, float* c) {
  multiply_packed(a, {.dense = b, .is_transposed = true, .ld = a.cols()}, nullptr, n, c, 1, false);
}

void multiply_nn(const PackedRows& a, int64_t n, const RowDecoder& w, const float* thin, float* c,
                 bool accumulate) {
  multiply_packed(a, {.decoder = &w, .ld = n}, thin, n, c, 1, accumulate);
}

void multiply_nn(const PackedRows& a, int64_t n, const float* b, float alpha, float* c) {
  multiply_packed(a, {.dense = b, .ld = n}, nullptr, n, c, alpha, false);
}

void multiply_tn(int64_t r, const float* a, const PackedRows& b, float alpha, float* c,
                 bool accumulate) {
  PackedRows left(r, b.rows());
  left.pack(a, 1, r);
  if (r <= kBandLines && micro_tiles(b.kind()).multiply_turned != nullptr)
    return multiply_turned(left, b, alpha, c, accumulate);
  multiply_packed(left, {.turned = &b}, nullptr, b.cols(), c, alpha, accumulate);
}

}  // namespace moxie::kernels
