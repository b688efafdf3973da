#include "kernels/gated_rows.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "base/threads.h"
#include "kernels/gemm_parts.h"
#include "kernels/scratch.h"

namespace moxie::kernels {
namespace {

constexpr int64_t kPanelNumbers = 512 * 1024;  // of all right matrices in L2: 1 MiB
constexpr int64_t kManyBands = 8;              // from which threads share rows: 256
constexpr int64_t kBlock = kBandLines * kBandLines;

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
    const int64_t columns = kPanelNumbers / (count() * std::max<int64_t>(a.cols(), 1));
    wide_ = std::max(unit_, columns / unit_ * unit_);
  }

  // Calls take(i, j, sums) for each block of 32 rows from band i and 32 columns from 32 j, with the
  // sums of one product after the other, on all threads.
  template <class Take>
  void run(const Take& take) const {
    if (a_.bands() < kManyBands) return run_by_columns(take);
    Tensor memory = Tensor::empty({numbers(std::min(wide_, n_))}, DType::kBF16);
    auto* panel = memory.data<BFloat16>();
    for (int64_t j = 0; j < n_; j += wide_) {
      const int64_t end = std::min(n_, j + wide_);
      parallel_for(ceil_div(end - j, unit_), 1, [&](int64_t first, int64_t last) {
        pack(j, end, j + first * unit_, std::min(end, j + last * unit_), panel);
      });
      parallel_for(a_.bands(), 1, [&](int64_t first, int64_t last) {
        multiply(first, last, j, end, panel, take);
      });
    }
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
    return all * kTilePair * ceil_div(columns, kBandLines);
  }

  // Few rows: each thread packs the columns that it multiplies.
  template <class Take>
  void run_by_columns(const Take& take) const {
    parallel_for(ceil_div(n_, unit_), 1, [&](int64_t first, int64_t last) {
      const int64_t stop = std::min(n_, last * unit_);
      auto* panel = reinterpret_cast<BFloat16*>(
          scratch(Scratch::kPanels,
                  static_cast<size_t>(numbers(std::min(wide_, stop - first * unit_)) / 2)));
      for (int64_t j = first * unit_; j < stop; j += wide_) {
        const int64_t end = std::min(stop, j + wide_);
        pack(j, end, j, end, panel);
        multiply(0, a_.bands(), j, end, panel, take);
      }
    });
  }

  // Columns [from, to) of the panel [j, end).
  void pack(int64_t j, int64_t end, int64_t from, int64_t to, BFloat16* panel) const {
    for (int64_t index = 0; index < count(); ++index) {
      const Source& b = sources_[static_cast<size_t>(index)];
      const int64_t size = tiles(index) * kTilePair;
      BFloat16* bands = panel + (from - j) / kBandLines * size;
      pack_bf16(b, 0, a_.cols(), from, to, size, bands);
      pack_thin(b, factors_[static_cast<size_t>(index)].thin, a_.spare(), n_, from, to, size,
                bands + a_.tiles() * kTilePair);
      panel += ceil_div(end - j, kBandLines) * size;
    }
  }

  template <class Take>
  void multiply(int64_t first, int64_t last, int64_t j, int64_t end, const BFloat16* panel,
                const Take& take) const {
    const MicroBF16& kernel = micro_bf16();
    const TileScope scope;
    alignas(64) float sums[2 * kBlock] = {};
    for (int64_t i = first; i < last; ++i) {
      BlockBF16 part{.rows = static_cast<int>(std::min(kBandLines, a_.rows() - i * kBandLines)),
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
        part.cols = static_cast<int>(std::min(kBandLines, end - c));
        // Rows and columns that are not there give zeros.
        if (part.rows < kBandLines || part.cols < kBandLines) std::fill_n(sums, 2 * kBlock, 0.0f);
        for (int64_t index = 0; index < count(); ++index) {
          part.depth = tiles(index);
          part.b = from + (c - j) / kBandLines * part.depth * kTilePair;
          part.c = sums + index * kBlock;
          kernel.multiply(part);
          from += ceil_div(end - j, kBandLines) * part.depth * kTilePair;
        }
        take(i, c / kBandLines, sums);
      }
    }
  }

  const PackedRows& a_;
  int64_t n_;
  std::vector<Factor> factors_;
  std::vector<Source> sources_;
  int64_t unit_ = kBandLines;
  int64_t wide_;
};

BFloat16* tiles_at(const PackedRows& rows, int64_t i, int64_t j) {
  return rows.band(i) + j * kTilePair;
}

void put(const float* numbers, PackedRows& rows, int64_t i, int64_t j) {
  micro_bf16().along(numbers, kBandLines, kBandLines, kBandLines, Side::kA, tiles_at(rows, i, j));
}

}  // namespace

void multiply_gated(const PackedRows& x, const Factor& gate, const Factor& up, Activation kind,
                    PackedRows* g, PackedRows* u, PackedRows& y) {
  MOXIE_ASSERT(y.rows() == x.rows());
  Panels(x, y.cols(), true, {gate, up}).run([&](int64_t i, int64_t j, const float* sums) {
    alignas(64) float out[kBlock];
    row_kernels<float>().gate(kind, sums, sums + kBlock, out, kBlock);
    put(out, y, i, j);
    if (g != nullptr) put(sums, *g, i, j);
    if (u != nullptr) put(sums + kBlock, *u, i, j);
  });
}

void multiply_gated_backward(const PackedRows& dz, const Factor& down, Activation kind,
                             PackedRows& g, PackedRows& u) {
  MOXIE_ASSERT(g.rows() == dz.rows() && u.rows() == dz.rows() && g.cols() == u.cols());
  Panels(dz, g.cols(), false, {down}).run([&](int64_t i, int64_t j, const float* dy) {
    alignas(64) float values[2 * kBlock];
    alignas(64) float gradients[2 * kBlock];
    micro_bf16().widen(tiles_at(g, i, j), values, kBlock);
    micro_bf16().widen(tiles_at(u, i, j), values + kBlock, kBlock);
    row_kernels<float>().gate_backward(kind, values, values + kBlock, dy, gradients,
                                       gradients + kBlock, kBlock);
    put(gradients, g, i, j);
    put(gradients + kBlock, u, i, j);
  });
}

}  // namespace moxie::kernels
