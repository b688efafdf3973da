#pragma once
// What the products in f32 and in integers share: the description of a product, where its
// matrix B comes from, and how the threads deal C out.
#include <algorithm>
#include <cstdint>
#include <functional>

#include "base/threads.h"
#include "kernels/gemm.h"
#include "kernels/micro_tiles.h"
#include "kernels/scratch.h"
#include "tensor/tensor.h"

namespace moxie::kernels {

class PackedRows;  // packed_rows.h

// Where B comes from: dense, by rows of k (natural) or of n (transposed), decoded, or rows of k
// that are packed as an A.
struct Source {
  const float* dense = nullptr;
  const RowDecoder* decoder = nullptr;
  const PackedRows* turned = nullptr;
  bool is_transposed = false;
  int64_t ld = 0;  // of the matrix as it is given, by rows
};

struct Problem {
  int64_t m, n, k;
  const float* a;
  int64_t a_row, a_step;  // element (i, p) of A is a[i * a_row + p * a_step]
  Source b;
  float* c;
  bool accumulate;
  float alpha;
  bool a_is_packed = false;  // strips of micro().rows rows, each [k, rows of the strip]
};

inline constexpr int64_t kSmallWork =
    64 * 1024;  // multiply-adds that one thread does sooner than two

inline int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
inline int64_t round_up(int64_t a, int64_t b) {
  return ceil_div(a, b) * b;
}

// Depth of a panel of B, a multiple of 32 and of what a decoder needs, `most` or a bit more where
// that is no such multiple: it depends on k and the format alone, since it decides the order of the
// sums.
inline constexpr int64_t kMostDepth = 384;  // of f32: 24 KiB of a panel pass through L1 at a time
int64_t panel_depth(const Problem& t, int64_t most = kMostDepth);

// Decodes a piece of a row, of rows below `stop` that are decoded one by one: asks for those to
// come, since no prefetcher sees so short pieces coming.
void decode_row(const RowDecoder& rows, int64_t row, int64_t stop, int64_t begin, int64_t end,
                float* out);

// Columns of B that are packed at a time come in multiples of this.
int64_t column_unit(const Problem& t, int64_t tile_cols);

// What packing a column of B costs in f32 and integers, in rows of A that are multiplied
// with it meanwhile.
inline int64_t pack_cost(const Problem& t) {
  return t.b.decoder != nullptr ? 32 : 12;
}

// Sixteenths of a thread's share of a product that others may take.
inline constexpr int kDealt = 8;

// Calls rectangle(i0, i1, j0, j1) for parts of C on all threads; i0 is a multiple of `row_unit`, j0
// of `col_unit`.
void deal_rectangles(const Problem& t, int64_t row_unit, int64_t col_unit, int64_t pack_cost,
                     const std::function<void(int64_t, int64_t, int64_t, int64_t)>& rectangle);

// Whether each thread packs the panels that it multiplies with for itself: where tiles are so fast
// that fetching what another core has just written takes longer than decoding it.
bool packs_for_itself(Tiles kind, const Source& b);
// Whether threads share the rows of a product, not the columns.
bool goes_by_rows(Tiles kind, int64_t bands, const Source& b);

// Panels of B, and the bands of rows of C that are multiplied with them.
struct PanelPlan {
  bool is_shared;  // threads share the packing of a panel
  int64_t bands;
  int64_t columns;  // of B
  int64_t wide;     // a panel's, of which packing comes in multiples of `unit`
  int64_t unit;
  int64_t blocks;         // along k, of each panel, which are multiplied in their order
  int64_t numbers;        // of the memory for one
  bool in_order = false;  // all panels of a band are
};

// Columns [j, end) of B.
struct Panel {
  int64_t j, end;
};

// For each panel and block: calls pack(panel, block, from, to, memory) until all of its columns are
// packed, then multiply(panel, block, first band, last band, memory) for all bands.
template <class Pack, class Multiply>
void multiply_panels(const PanelPlan& plan, const Pack& pack, const Multiply& multiply) {
  const int64_t panels = ceil_div(plan.columns, plan.wide);
  const auto panel_at = [&plan](int64_t index) {
    return Panel{index * plan.wide, std::min(plan.columns, (index + 1) * plan.wide)};
  };
  if (plan.is_shared) {
    Tensor memory = Tensor::empty({plan.numbers}, DType::kBF16);
    auto* at = memory.data<BFloat16>();
    for (int64_t part = 0; part < panels * plan.blocks; ++part) {
      const Panel panel = panel_at(part / plan.blocks);
      const int64_t block = part % plan.blocks;
      parallel_for(ceil_div(panel.end - panel.j, plan.unit), 1, [&](int64_t first, int64_t last) {
        pack(panel, block, panel.j + first * plan.unit,
             std::min(panel.end, panel.j + last * plan.unit), at);
      });
      parallel_pieces(
          plan.bands, 1,
          [&](int64_t first, int64_t last) { multiply(panel, block, first, last, at); }, kDealt);
    }
    return;
  }
  const int64_t shares = std::min<int64_t>(plan.bands, thread_count());
  const auto run = [&](int64_t begin, int64_t end) {
    auto* at = reinterpret_cast<BFloat16*>(
        scratch(Scratch::kPanels, static_cast<size_t>(plan.numbers / 2)));
    for (int64_t part = begin; part < end; ++part) {
      const Panel panel = panel_at(part % panels);
      const int64_t share = part / panels;
      const int64_t first = plan.bands * share / shares, last = plan.bands * (share + 1) / shares;
      for (int64_t block = 0; block < plan.blocks; ++block) {
        pack(panel, block, panel.j, panel.end, at);
        multiply(panel, block, first, last, at);
      }
    }
  };
  if (plan.in_order) {
    parallel_for(shares, 1, [&](int64_t begin, int64_t end) { run(begin * panels, end * panels); });
  } else {
    parallel_pieces(shares * panels, panels, run, kDealt);
  }
}

// Columns [j0, j1) of B at [k0, k1) as bands of tiles `size` numbers apart. Nothing of the band is
// written beyond the tiles that k1 - k0 numbers take.
void pack_tiles(const Source& b, Tiles kind, int64_t k0, int64_t k1, int64_t j0, int64_t j1,
                int64_t size, BFloat16* bands);
// The same of what meets the spare numbers of packed rows beside a b of n columns: thin, given as b
// is, or null.
void pack_thin(const Source& b, const float* thin, Tiles kind, int64_t spare, int64_t n, int64_t j0,
               int64_t j1, int64_t size, BFloat16* bands);

// C of a product in 16-bit integers: gemm16.cpp; in 8-bit ones, of factors given by rows of k:
// gemm8.cpp; of tiles: gemm_tiles.cpp.
void multiply16(const Problem& t);
void multiply8(const Problem& t);
void multiply_tiles(const Problem& t, Tiles kind);

}  // namespace moxie::kernels
