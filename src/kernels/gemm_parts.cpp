#include "kernels/gemm_parts.h"

#include "base/cpu.h"

namespace moxie::kernels {
namespace {

constexpr int64_t kLeastGranule = 32;

struct Grid {
  int64_t rows = 1, cols = 1;
};

// How many threads share the rows and the columns of C: packing B is done once a row of the grid,
// and costs as much as some more rows would.
Grid choose_grid(const Problem& t, int64_t row_units, int64_t row_unit, int64_t col_units,
                 int64_t pack_cost) {
  const int64_t threads = t.m * t.n * t.k < kSmallWork ? 1 : thread_count();
  Grid best;
  int64_t least = INT64_MAX;
  for (int64_t cols = 1; cols <= threads; ++cols) {
    const int64_t rows = threads / cols;
    const int64_t cost =
        ceil_div(col_units, cols) * (ceil_div(row_units, rows) * row_unit + pack_cost);
    if (cost < least) {
      least = cost;
      best = {rows, cols};
    }
  }
  return best;
}

void ask_ahead(const RowDecoder& rows, int64_t row, int64_t stop, int64_t begin, int64_t end) {
  constexpr int64_t kAhead = 16;
  if (rows.fetch != nullptr && row + kAhead < stop)
    rows.fetch(rows.context, row + kAhead, begin, end);
}

}  // namespace

int64_t panel_depth(const Problem& t, int64_t most) {
  // The decoded product has the bits of the dense one where the format's block is at most
  // kLeastGranule.
  const bool by_blocks = t.b.decoder != nullptr && t.b.is_transposed;
  const int64_t granule = by_blocks ? std::max(t.b.decoder->granule, kLeastGranule) : kLeastGranule;
  const int64_t parts = ceil_div(t.k, most);
  return std::max(granule, round_up(ceil_div(t.k, parts), granule));
}

void decode_row(const RowDecoder& rows, int64_t row, int64_t stop, int64_t begin, int64_t end,
                float* out) {
  ask_ahead(rows, row, stop, begin, end);
  rows.decode(rows.context, row, begin, end, out);
}

int64_t column_unit(const Problem& t, int64_t tile_cols) {
  const bool by_blocks = t.b.decoder != nullptr && !t.b.is_transposed;
  return by_blocks ? std::max(tile_cols, t.b.decoder->granule) : tile_cols;
}

void deal_rectangles(const Problem& t, int64_t row_unit, int64_t col_unit, int64_t pack_cost,
                     const std::function<void(int64_t, int64_t, int64_t, int64_t)>& rectangle) {
  const int64_t col_units = ceil_div(t.n, col_unit);
  const int64_t row_units = ceil_div(t.m, row_unit);
  const Grid grid = choose_grid(t, row_units, row_unit, col_units, pack_cost);
  if (grid.rows == 1) {
    const auto columns = [&](int64_t begin, int64_t end) {
      rectangle(0, t.m, begin * col_unit, std::min(t.n, end * col_unit));
    };
    return parallel_pieces(col_units, ceil_div(col_units, grid.cols), columns, kDealt);
  }
  parallel_for(grid.rows * grid.cols, 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      const int64_t r = part / grid.cols;
      const int64_t c = part % grid.cols;
      const int64_t i0 = row_units * r / grid.rows * row_unit;
      const int64_t i1 = std::min(t.m, row_units * (r + 1) / grid.rows * row_unit);
      const int64_t j0 = col_units * c / grid.cols * col_unit;
      const int64_t j1 = std::min(t.n, col_units * (c + 1) / grid.cols * col_unit);
      if (i0 < i1 && j0 < j1) rectangle(i0, i1, j0, j1);
    }
  });
}

bool packs_for_itself(Tiles kind, const Source& b) {
  return kind == Tiles::kBF16 && b.decoder != nullptr && amx_is_active();
}

bool goes_by_rows(Tiles kind, int64_t bands, const Source& b) {
  constexpr int64_t kOwnBands = 5;  // of a thread, for a panel that it has packed for itself
  constexpr int64_t kManyBands = 8;
  constexpr int64_t kManyInt8 = 24;  // fetching a packed panel is slower than multiplying with it
  if (packs_for_itself(kind, b)) return bands >= kOwnBands * thread_count();
  return bands >= (is_int8(kind) ? kManyInt8 : kManyBands);
}

}  // namespace moxie::kernels
