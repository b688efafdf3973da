#pragma once
// Products of packed rows of bf16 with a matrix as codes (micro_codes.h): the gradient of what a
// weight was multiplied with. All threads pack a panel of columns, then each codes the rows that it
// multiplies, band by band.
#include <algorithm>

#include "kernels/gemm_parts.h"
#include "kernels/micro_codes.h"
#include "kernels/packed_rows.h"

namespace moxie::kernels {

// Columns of a right matrix in one block along k, rows [k0, k1) of it.
class CodedPanel {
 public:
  CodedPanel(int64_t k0, int64_t k1, int64_t most_columns);

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
  Tensor memory_;
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
  const int64_t spare = thin != nullptr ? a.spare_tiles() * kTilePair : 0;
  Tensor thin_tiles = Tensor::empty({ceil_div(n, kBandLines) * spare}, DType::kBF16);
  const auto thin_at = [&](int64_t column) {
    return thin_tiles.data<BFloat16>() + column / kBandLines * spare;
  };
  const auto multiply_band = [&](const CodedPanel& panel, int64_t i, int64_t j, int64_t end,
                                 int64_t k) {
    const int64_t rows = std::min(kBandLines, a.rows() - i * kBandLines);
    const Codes codes = panel.code(a.band(i) + k / kTileDepth * kTilePair);
    for (int64_t column = j; column < end; column += kBandLines) {
      const int64_t band = column / kBandLines;
      const int64_t cols = std::min(kBandLines, end - column);
      const SumsPlace to = place(i, band);
      if (k == 0 && spare > 0) {
        micro_bf16().multiply({rows, cols, a.spare_tiles(), a.band(i) + a.tiles() * kTilePair,
                               thin_at(column), to.c, to.ld, 1, accumulate, true});
      }
      micro_codes().multiply({rows, cols, panel.depth(), codes, panel.band(column - j), to.c, to.ld,
                              accumulate || k > 0 || spare > 0});
      if (k + depth >= a.cols()) then(i, band);
    }
  };
  for (int64_t j = 0; j < n; j += wide) {
    const int64_t end = std::min(n, j + wide);
    for (int64_t k = 0; k < a.cols(); k += depth) {
      const CodedPanel panel(k, std::min(a.cols(), k + depth), end - j);
      const auto pack = [&](int64_t first, int64_t last) {
        const int64_t from = j + first * unit, to = std::min(end, j + last * unit);
        panel.pack(b, j, from, to);
        if (k == 0) pack_thin(b, thin, Tiles::kBF16, a.spare(), n, from, to, spare, thin_at(from));
      };
      const auto multiply = [&](int64_t first, int64_t last) {
        const TileScope scope;
        for (int64_t i = first; i < last; ++i) multiply_band(panel, i, j, end, k);
      };
      share_panel(ceil_div(end - j, unit), pack, a.bands(), multiply);
    }
  }
}

// Whether products of that many rows are worth coding a matrix, and this CPU has codes.
bool takes_codes(int64_t rows);

// Of a problem by rows of k, with alpha 1.
void multiply_codes(const Problem& t);
// c[a.rows(), n] (+)= a w + spare thin
void multiply_nn_codes(const PackedRows& a, int64_t n, const RowDecoder& w, const float* thin,
                       float* c, bool accumulate);

}  // namespace moxie::kernels
