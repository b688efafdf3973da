#include <algorithm>

#include "base/cpu.h"
#include "base/error.h"
#include "base/threads.h"
#include "kernels/gemm_parts.h"
#include "kernels/micro16.h"
#include "kernels/rounded_rows.h"
#include "kernels/scratch.h"

// Block floating point in the blocking of gemm.cpp: A is rounded first, by all threads, and B as it
// is packed into panels.
namespace moxie::kernels {

const Micro16& micro16() {
#ifndef MOXIE_SCALAR_ONLY
  if (has_avx512_vnni()) return kMicro16Avx512;
  if (active_isa() >= Isa::kAvx2) return kMicro16Avx2;
#endif
  return kMicro16Scalar;
}

bool int16_is_faster() {
  return active_isa() == Isa::kAvx2;
}

namespace {

constexpr int64_t kPanelCodes = 128 * 1024;      // of B in L2: 256 KiB
constexpr int64_t kMostCodes = 2 * 1024 * 1024;  // of A at a time: 4 MiB
constexpr int64_t kBufferCols = 256;             // of B that are decoded at a time
constexpr int64_t kGrainCodes = 16 * 1024;

// Blocks [first, last) of k, and A's codes in them: a block is [rows, depth / 2] pairs, or where A
// is given transposed strips of 16 rows, each [depth / 2, 16]. Scales are [blocks, rows].
struct Rounded {
  int64_t depth, first, last;
  int64_t rows;  // m rounded up to 16
  bool is_by_strips;
  int32_t* codes;
  float* scales;

  int64_t begin_of(int64_t block) const { return block * depth; }
  int64_t end_of(int64_t block, int64_t k) const { return std::min(k, (block + 1) * depth); }
  int64_t pairs() const { return depth / 2; }
  int32_t* codes_of(int64_t block, int64_t row) const {
    return codes + ((block - first) * rows + row) * pairs();
  }
  float* scales_of(int64_t block) const { return scales + (block - first) * rows; }
};

void round_a(const Problem& t, const Rounded& r) {
  const Micro16& kernel = micro16();
  const int64_t unit = r.is_by_strips ? kCols16 : 1;
  const int64_t grain = std::max<int64_t>(1, kGrainCodes / ((r.last - r.first) * r.depth * unit));
  parallel_for(ceil_div(t.m, unit), grain, [&](int64_t begin, int64_t end) {
    for (int64_t s = begin; s < end; ++s) {
      for (int64_t block = r.first; block < r.last; ++block) {
        const int64_t k0 = r.begin_of(block);
        const int64_t count = r.end_of(block, t.k) - k0;
        const float* a = t.a + s * unit * t.a_row + k0 * t.a_step;
        int32_t* codes = r.codes_of(block, s * unit);
        float* scales = r.scales_of(block) + s * unit;
        if (r.is_by_strips) {
          const auto rows = static_cast<int>(std::min(kCols16 + 0L, t.m - s * unit));
          kernel.round_columns(a, t.a_step, count, rows, codes, scales);
        } else {
          *scales = kernel.round_row(a, count, kMost16, reinterpret_cast<int16_t*>(codes));
        }
        for (int64_t i = 0; i < unit; ++i) scales[i] *= t.alpha;
      }
    }
  });
}

// Rows [k0, k1) and columns [j0, j1) of B as panels.
void pack_columns(const Source& b, int64_t k0, int64_t k1, int64_t j0, int64_t j1, int32_t* panel,
                  float* scales) {
  const Micro16& kernel = micro16();
  const int64_t depth = k1 - k0;
  const int64_t granule = b.decoder != nullptr ? b.decoder->granule : 1;
  const int64_t wide = b.decoder != nullptr ? round_up(kBufferCols, granule) : j1 - j0;
  float* buffer = scratch(Scratch::kRows, b.decoder ? static_cast<size_t>(depth * wide) : 0);
  for (int64_t from = j0; from < j1; from += wide) {
    const int64_t to = std::min(j1, from + wide);
    const float* rows = buffer;
    int64_t ld = to - from;
    if (b.decoder == nullptr) {
      rows = b.dense + k0 * b.ld + from;
      ld = b.ld;
    }
    for (int64_t p = 0; b.decoder != nullptr && p < depth; ++p)
      decode_row(*b.decoder, k0 + p, k1, from, to, buffer + p * ld);
    for (int64_t j = from; j < to; j += kCols16) {
      const auto count = static_cast<int>(std::min<int64_t>(kCols16, to - j));
      kernel.round_columns(rows + (j - from), ld, depth, count, panel, scales);
      panel += (depth + 1) / 2 * kCols16;
      scales += kCols16;
    }
  }
}

// The same of a B that is given by rows of n.
void pack_rows(const Source& b, int64_t k0, int64_t k1, int64_t j0, int64_t j1, int32_t* panel,
               float* scales) {
  const Micro16& kernel = micro16();
  const int64_t depth = k1 - k0;
  const int64_t pairs = (depth + 1) / 2;
  float* buffer = scratch(Scratch::kRows, static_cast<size_t>(depth + kCols16 * pairs));
  auto* codes = reinterpret_cast<int32_t*>(buffer + depth);
  for (int64_t j = j0; j < j1; j += kCols16, panel += pairs * kCols16, scales += kCols16) {
    const int64_t count = std::min<int64_t>(kCols16, j1 - j);
    std::fill_n(scales, kCols16, 0.0f);
    for (int64_t i = 0; i < count; ++i) {
      const float* row = buffer;
      if (b.decoder != nullptr) {
        decode_row(*b.decoder, j + i, j1, k0, k1, buffer);
      } else {
        row = b.dense + (j + i) * b.ld + k0;
      }
      scales[i] =
          kernel.round_row(row, depth, kMost16, reinterpret_cast<int16_t*>(codes + i * pairs));
    }
    kernel.transpose(static_cast<int>(count), pairs, codes, panel);
  }
}

struct Panels {
  int64_t j0, j1, pairs;
  const int32_t* codes;
  const float* scales;
};

// Rows [i0, i1) of C with the panels of one block.
void strips(const Problem& t, const Rounded& r, int64_t block, int64_t i0, int64_t i1,
            const Panels& panels) {
  const Micro16& kernel = micro16();
  const int64_t unit = r.is_by_strips ? kCols16 : i1 - i0;  // rows that lie alike
  const float* scales = r.scales_of(block);
  for (int64_t u = i0; u < i1; u += unit) {
    const int64_t rows = std::min(unit, i1 - u);
    const int64_t count = ceil_div(rows, kernel.rows);
    for (int64_t s = 0; s < count; ++s) {
      const int64_t i = u + rows * s / count;
      const int64_t end = u + rows * (s + 1) / count;
      Tile16 tile{static_cast<int>(end - i),
                  0,
                  panels.pairs,
                  nullptr,
                  r.pairs(),
                  1,
                  panels.codes,
                  scales + i,
                  panels.scales,
                  nullptr,
                  t.n,
                  t.accumulate || block > 0};
      if (r.is_by_strips) {
        tile.a = r.codes_of(block, u) + (i - u);
        tile.a_row = 1;
        tile.a_step = unit;
      } else {
        tile.a = r.codes_of(block, i);
      }
      for (int64_t j = panels.j0; j < panels.j1; j += kCols16) {
        tile.n = static_cast<int>(std::min<int64_t>(kCols16, panels.j1 - j));
        tile.c = t.c + i * t.n + j;
        kernel.tile(tile);
        tile.b += panels.pairs * kCols16;
        tile.b_scales += kCols16;
      }
    }
  }
}

// One thread's rectangle of C.
void rectangle(const Problem& t, const Rounded& r, int64_t i0, int64_t i1, int64_t j0, int64_t j1) {
  const int64_t unit = column_unit(t, kCols16);
  const int64_t wide = std::max(unit, kPanelCodes / r.depth / unit * unit);
  const size_t codes = static_cast<size_t>(wide * r.pairs());
  float* memory = scratch(Scratch::kPanels, codes + static_cast<size_t>(wide));
  auto* panel = reinterpret_cast<int32_t*>(memory);
  float* scales = memory + codes;
  for (int64_t j = j0; j < j1; j += wide) {
    const int64_t end = std::min(j1, j + wide);
    for (int64_t block = r.first; block < r.last; ++block) {
      const int64_t k0 = r.begin_of(block);
      const int64_t k1 = r.end_of(block, t.k);
      (t.b.is_transposed ? pack_rows : pack_columns)(t.b, k0, k1, j, end, panel, scales);
      strips(t, r, block, i0, i1, {j, end, (k1 - k0 + 1) / 2, panel, scales});
    }
  }
}

// C (+)= A B over the blocks that are rounded.
void multiply(const Problem& t, const Rounded& r) {
  deal_rectangles(
      t, r.is_by_strips ? kCols16 : micro16().rows, column_unit(t, kCols16), pack_cost(t),
      [&](int64_t i0, int64_t i1, int64_t j0, int64_t j1) { rectangle(t, r, i0, i1, j0, j1); });
}

}  // namespace

void multiply16(const Problem& t) {
  const int64_t depth = panel_depth(t);
  MOXIE_ASSERT(depth <= kDeepest16);
  const int64_t blocks = ceil_div(t.k, depth);
  const int64_t rows = round_up(t.m, kCols16);
  const int64_t most = std::max<int64_t>(1, kMostCodes / (rows * depth));  // blocks at a time
  for (int64_t first = 0; first < blocks; first += most) {
    const int64_t last = std::min(blocks, first + most);
    const auto codes = static_cast<size_t>((last - first) * rows * depth / 2);
    float* memory = scratch(Scratch::kStrips, codes + static_cast<size_t>((last - first) * rows));
    const Rounded rounded{depth,         first,         last,
                          rows,          t.a_step != 1, reinterpret_cast<int32_t*>(memory),
                          memory + codes};
    round_a(t, rounded);
    multiply(t, rounded);
  }
}

void multiply_nn(const RoundedRows& a, int64_t n, const RowDecoder& w, float* c) {
  if (a.arithmetic() == Arithmetic::kInt8) return multiply_nn8(a, n, w, c);
  const Source source{.decoder = &w, .ld = n};
  const Problem t{a.rows(), n, a.cols(), nullptr, 0, 1, source, c, false, 1};
  auto* codes = reinterpret_cast<int32_t*>(a.codes<int16_t>());
  const int64_t depth = a.span();
  multiply(t, {depth, 0, ceil_div(t.k, depth), round_up(t.m, kCols16), false, codes, a.scales()});
}

}  // namespace moxie::kernels
