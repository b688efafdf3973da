#pragma once
// Products of packed rows of bf16 with a matrix as codes (micro_codes.h): the gradient of what a
// weight was multiplied with. All threads pack a panel of columns, then each codes the rows that it
// multiplies, band by band.
#include <algorithm>

#include "kernels/gemm_parts.h"
#include "kernels/micro_codes.h"
#include "kernels/packed_rows.h"

namespace moxie::kernels {

// Columns of a right matrix in one block along k, rows [k0, k1) of it, in memory that is given.
class CodedPanel {
 public:
  CodedPanel(int64_t k0, int64_t k1, BFloat16* memory);
  static int64_t numbers(int64_t depth, int64_t columns);  // of the memory for up to `depth` rows

  // Columns [from, to) of b; the panel begins at column j0.
  void pack(const Source& b, int64_t j0, int64_t from, int64_t to) const;
  // Of 32 columns from the panel's column c on.
  Codes band(int64_t c) const;
  // A band of packed rows in the block, on this thread until its next call.
  Codes code(const BFloat16* rows) const;
  int64_t depth() const { return (tiles_ + 1) / 2; }  // tiles of codes

 private:
  int64_t k0_, k1_;
  int64_t tiles_;  // of bf16
  float* memory_;
};

// Where the sums of a block go, rows ld apart.
struct SumsPlace {
  float* c;
  int64_t ld;
};

// a b + spare thin as multiply_nn, b [a.cols(), n], in blocks along k of at most `deepest`.
struct CodedProduct {
  const PackedRows& a;
  int64_t n;
  Source b;
  const float* thin;
  int64_t deepest;

  // Writes each block of 32 rows from band i and 32 columns from 32 j to where place(i, j), a
  // SumsPlace, says, or adds it there if `accumulate`, and calls then(i, j) once its sums are
  // whole.
  template <class Place, class Then>
  void run(bool accumulate, const Place& place, const Then& then) const;
};
template <class Place, class Then>
void CodedProduct::run(bool accumulate, const Place& place, const Then& then) const {
  constexpr int64_t kPanelCodes = 512 * 1024;  // in L2
  const Problem t{a.rows(), n, a.cols(), nullptr, 0, 0, b, nullptr, accumulate, 1};
  const int64_t unit = column_unit(t, kBandLines);
  const int64_t depth = round_up(panel_depth(t, deepest), kCodesDepth);
  const int64_t wide = std::max(unit, kPanelCodes / depth / unit * unit);
  const int64_t numbers = CodedPanel::numbers(std::min(depth, a.cols()), std::min(wide, n));
  const int64_t spare = thin != nullptr ? a.spare_tiles() * kTilePair : 0;  // after the codes
  const auto coded = [&](int64_t block, BFloat16* memory) {
    return CodedPanel(block * depth, std::min(a.cols(), (block + 1) * depth), memory);
  };
  const auto multiply_band = [&](const CodedPanel& codes_of_b, const Panel& panel, int64_t i,
                                 int64_t k, const BFloat16* thin_tiles) {
    const int64_t rows = std::min(kBandLines, a.rows() - i * kBandLines);
    const Codes codes = codes_of_b.code(a.band(i) + k / kTileDepth * kTilePair);
    for (int64_t column = panel.j; column < panel.end; column += kBandLines, thin_tiles += spare) {
      const int64_t band = column / kBandLines;
      const int64_t cols = std::min(kBandLines, panel.end - column);
      const SumsPlace to = place(i, band);
      if (k == 0 && spare > 0) {
        micro_bf16().multiply({rows, cols, a.spare_tiles(), a.band(i) + a.tiles() * kTilePair,
                               thin_tiles, to.c, to.ld, 1, accumulate, true});
      }
      micro_codes().multiply({rows, cols, codes_of_b.depth(), codes,
                              codes_of_b.band(column - panel.j), to.c, to.ld,
                              accumulate || k > 0 || spare > 0});
      if (k + depth >= a.cols()) then(i, band);
    }
  };
  multiply_panels(
      {.is_shared = true,
       .bands = a.bands(),
       .columns = n,
       .wide = wide,
       .unit = unit,
       .blocks = ceil_div(a.cols(), depth),
       .numbers = numbers + ceil_div(std::min(wide, n), kBandLines) * spare},
      [&](const Panel& panel, int64_t block, int64_t from, int64_t to, BFloat16* memory) {
        coded(block, memory).pack(b, panel.j, from, to);
        if (block > 0) return;
        pack_thin(b, thin, Tiles::kBF16, a.spare(), n, from, to, spare,
                  memory + numbers + (from - panel.j) / kBandLines * spare);
      },
      [&](const Panel& panel, int64_t block, int64_t first, int64_t last, BFloat16* memory) {
        const TileScope scope;
        for (int64_t i = first; i < last; ++i)
          multiply_band(coded(block, memory), panel, i, block * depth, memory + numbers);
      });
}

// Whether products of that many rows are worth coding a matrix, and this CPU has codes.
bool takes_codes(int64_t rows);

// Of a problem by rows of k, with alpha 1.
void multiply_codes(const Problem& t);
// c[a.rows(), n] (+)= a w + spare thin
void multiply_nn_codes(const PackedRows& a, int64_t n, const RowDecoder& w, const float* thin,
                       float* c, bool accumulate);

}  // namespace moxie::kernels
