#pragma once
// Products of packed rows whose sums go on to something else while they are in L1, instead of to a
// matrix.
#include <algorithm>
#include <utility>
#include <vector>

#include "base/threads.h"
#include "kernels/fused_bf16.h"
#include "kernels/gemm_parts.h"
#include "kernels/packed_rows.h"
#include "kernels/scratch.h"

namespace moxie::kernels {

// The right matrix of a product of packed rows, and what meets their spare numbers, or null.
struct Factor {
  RowDecoder w;
  const float* thin;
};

inline constexpr int64_t kSharedPanel = 256 * 1024;  // of all right matrices in L2: 512 KiB

// Products of the same rows with several matrices of n columns, a panel of columns at a time over
// the whole depth.
class Panels {
 public:
  Panels(const PackedRows& a, int64_t n, bool is_transposed, std::vector<Factor> factors)
      : a_(a), n_(n), factors_(std::move(factors)) {
    for (const Factor& factor : factors_) {
      sources_.push_back({.decoder = &factor.w,
                          .is_transposed = is_transposed,
                          .ld = is_transposed ? a.cols() : n});
      const Problem problem{a.rows(),        n,       a.cols(), nullptr, 0, 0,
                            sources_.back(), nullptr, false,    1};
      unit_ = std::max(unit_, column_unit(problem, kBandLines));
    }
    const int64_t columns = kSharedPanel / (count() * std::max<int64_t>(a.cols(), 1));
    wide_ = std::max(unit_, columns / unit_ * unit_);
  }

  // Calls take(i, j, sums) for each block of 32 rows from band i and 32 columns from 32 j, with the
  // sums of one product after the other, which it may change, on all threads.
  template <class Take>
  void run(const Take& take) const {
    goes_by_rows(a_.kind(), a_.bands(), sources_.front()) ? run_by_rows(take, false)
                                                          : run_by_columns(take);
  }

  // The same, but each row's columns come in their order.
  template <class Take>
  void run_in_order(const Take& take) const {
    run_by_rows(take, true);
  }

 private:
  int64_t count() const { return static_cast<int64_t>(factors_.size()); }
  int64_t tiles(int64_t index) const {
    return a_.tiles() +
           (factors_[static_cast<size_t>(index)].thin != nullptr ? a_.spare_tiles() : 0);
  }
  int64_t numbers(int64_t columns) const {
    int64_t all = 0;
    for (int64_t index = 0; index < count(); ++index) all += tiles(index);
    return all * pair_size(a_.kind()) * ceil_div(columns, kBandLines);
  }

  template <class Take>
  void run_by_rows(const Take& take, bool in_order) const {
    multiply_panels(
        {.is_shared = !packs_for_itself(a_.kind(), sources_.front()),
         .bands = a_.bands(),
         .columns = n_,
         .wide = wide_,
         .unit = unit_,
         .blocks = 1,
         .numbers = numbers(std::min(wide_, n_)),
         .in_order = in_order},
        [&](const Panel& panel, int64_t, int64_t from, int64_t to, BFloat16* memory) {
          pack(panel.j, panel.end, from, to, memory);
        },
        [&](const Panel& panel, int64_t, int64_t first, int64_t last, const BFloat16* memory) {
          multiply(first, last, panel.j, panel.end, memory, take);
        });
  }

  // Few rows: each thread packs the columns that it multiplies.
  template <class Take>
  void run_by_columns(const Take& take) const {
    const auto columns = [&](int64_t first, int64_t last) {
      const int64_t stop = std::min(n_, last * unit_);
      auto* panel = reinterpret_cast<BFloat16*>(
          scratch(Scratch::kPanels,
                  static_cast<size_t>(numbers(std::min(wide_, stop - first * unit_)) / 2)));
      for (int64_t j = first * unit_; j < stop; j += wide_) {
        const int64_t end = std::min(stop, j + wide_);
        pack(j, end, j, end, panel);
        multiply(0, a_.bands(), j, end, panel, take);
      }
    };
    parallel_pieces(ceil_div(n_, unit_), 1, columns, kDealt);
  }

  // Columns [from, to) of the panel [j, end).
  void pack(int64_t j, int64_t end, int64_t from, int64_t to, BFloat16* panel) const {
    for (int64_t index = 0; index < count(); ++index) {
      const Source& b = sources_[static_cast<size_t>(index)];
      const int64_t size = tiles(index) * pair_size(a_.kind());
      BFloat16* bands = panel + (from - j) / kBandLines * size;
      pack_tiles(b, a_.kind(), 0, a_.cols(), from, to, size, bands);
      pack_thin(b, factors_[static_cast<size_t>(index)].thin, a_.kind(), a_.spare(), n_, from, to,
                size, bands + a_.tiles() * pair_size(a_.kind()));
      panel += ceil_div(end - j, kBandLines) * size;
    }
  }

  template <class Take>
  void multiply(int64_t first, int64_t last, int64_t j, int64_t end, const BFloat16* panel,
                const Take& take) const {
    const MicroTiles& kernel = micro_tiles(a_.kind());
    const TileScope scope;
    alignas(64) float sums[2 * kBlockNumbers] = {};
    for (int64_t i = first; i < last; ++i) {
      TileBlock part{.rows = std::min(kBandLines, a_.rows() - i * kBandLines),
                     .cols = 0,
                     .depth = 0,
                     .a = a_.band(i),
                     .b = nullptr,
                     .c = nullptr,
                     .ldc = kBandLines,
                     .alpha = 1,
                     .accumulate = false};
      for (int64_t c = j; c < end; c += kBandLines) {
        const BFloat16* from = panel;
        part.cols = std::min(kBandLines, end - c);
        // Rows and columns that are not there give zeros.
        if (part.rows < kBandLines || part.cols < kBandLines)
          std::fill_n(sums, 2 * kBlockNumbers, 0.0f);
        for (int64_t index = 0; index < count(); ++index) {
          part.depth = tiles(index);
          part.b = from + (c - j) / kBandLines * part.depth * pair_size(a_.kind());
          part.c = sums + index * kBlockNumbers;
          kernel.multiply(part);
          from += ceil_div(end - j, kBandLines) * part.depth * pair_size(a_.kind());
        }
        take(i, c / kBandLines, sums);
      }
    }
    fused(a_.kind()).settle();
  }

  const PackedRows& a_;
  int64_t n_;
  std::vector<Factor> factors_;
  std::vector<Source> sources_;
  int64_t unit_ = kBandLines;
  int64_t wide_;
};

// Where block (i, j) stands in packed rows.
inline BFloat16* tiles_at(const PackedRows& rows, int64_t i, int64_t j) {
  return rows.band(i) + j * pair_size(rows.kind());
}

}  // namespace moxie::kernels
