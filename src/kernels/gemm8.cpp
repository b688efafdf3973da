#include <algorithm>

#include "base/cpu.h"
#include "base/error.h"
#include "base/threads.h"
#include "kernels/gemm_parts.h"
#include "kernels/micro8.h"
#include "kernels/rounded_rows.h"
#include "kernels/scratch.h"

// A is rounded first, by all threads, and B as it is packed: a panel holds 16 columns over all of
// the k's that are rounded, so that C is visited once for them, and stays in L1 meanwhile. A LoRA's
// dh is made by the thread that rounds its rows of A, and is one more block along k, the last one.
namespace moxie::kernels {

const Micro8& micro8() {
#ifndef MOXIE_SCALAR_ONLY
  if (active_isa() >= Isa::kAvx2) return kMicro8Avx2;
#endif
  return kMicro8Scalar;
}

namespace {

constexpr int64_t kPanelBytes = 256 * 1024;      // of B in L2
constexpr int64_t kMostBytes = 4 * 1024 * 1024;  // of A at a time
constexpr int64_t kBufferCols = 256;             // of B that are decoded at a time
constexpr int64_t kGrainCodes = 16 * 1024;

// Of a block of k: as few blocks as can be, or up to two more where that leaves less to fill up.
int64_t depth_of(int64_t k) {
  const int64_t least = ceil_div(k, kDepth8);
  int64_t best = 0;
  for (int64_t blocks = least; blocks <= least + 2; ++blocks) {
    const int64_t depth = round_up(ceil_div(k, blocks), kStep8);
    if (best == 0 || round_up(k, depth) < round_up(k, best)) best = depth;
  }
  return best;
}

// Blocks of k from `first` on, and A's codes in them.
struct Rounded {
  int64_t first, count;  // of k
  int64_t depth;
  int64_t rank;              // of the LoRA whose dh is one more block; 0: none
  uint8_t* codes;            // [rows, row_bytes()]
  float* scales;             // [rows, all_blocks()]
  bool is_positive = false;  // codes are stored as they are

  int64_t blocks() const { return ceil_div(count, depth); }
  int64_t thin_depth() const { return round_up(rank, kStep8); }
  int64_t all_blocks() const { return blocks() + (rank > 0 ? 1 : 0); }
  int64_t row_bytes() const { return blocks() * depth + thin_depth(); }
  int64_t begin_of(int64_t block) const { return first + block * depth; }
  int64_t count_of(int64_t block) const { return std::min(depth, count - block * depth); }
};

// Columns [j0, j1) of a B in panels of some of these blocks.
struct Panels {
  int64_t j0, j1;
  int64_t blocks, last_depth, bytes;  // of a panel
  bool meets_positive;
  int8_t* at;
};
Panels panels_of(const Rounded& r, bool with_thin, int64_t j0, int64_t j1) {
  const bool is_longer = with_thin && r.rank > 0;
  const int64_t thin_bytes = is_longer ? block8_bytes(r.thin_depth()) : 0;
  Panels p{j0,
           j1,
           r.blocks() + (is_longer ? 1 : 0),
           is_longer ? r.thin_depth() : r.depth,
           r.blocks() * block8_bytes(r.depth) + thin_bytes,
           r.is_positive,
           nullptr};
  const int64_t bytes = ceil_div(j1 - j0, kCols8) * p.bytes;
  const Scratch slot = with_thin ? Scratch::kPanels : Scratch::kTiles;
  p.at = reinterpret_cast<int8_t*>(scratch(slot, static_cast<size_t>(ceil_div(bytes, 4))));
  return p;
}

// Columns of x [count, ld], from its first on, as this block of the panels of columns [from, to).
void round_block(const Panels& panels, int64_t block, int64_t depth, int64_t from, int64_t to,
                 const float* x, int64_t ld, int64_t count) {
  const int64_t at =
      block + 1 == panels.blocks ? panels.bytes - block8_bytes(depth) : block * block8_bytes(depth);
  for (int64_t j = from; j < to; j += kCols8, x += kCols8) {
    const auto columns = static_cast<int>(std::min<int64_t>(kCols8, to - j));
    int8_t* codes = panels.at + (j - panels.j0) / kCols8 * panels.bytes + at;
    micro8().round_columns(x, ld, count, columns, depth, codes);
    if (panels.meets_positive)
      std::fill_n(reinterpret_cast<Block8*>(codes + depth * kCols8)->starts, kCols8, 0);
  }
}

// Rows [i0, i1) of these columns of c, [rows, ldc].
void multiply(const Rounded& r, int64_t i0, int64_t i1, const Panels& panels, float* c, int64_t ldc,
              bool accumulate) {
  const Micro8& kernel = micro8();
  const int64_t count = ceil_div(i1 - i0, kernel.rows);
  for (int64_t s = 0; s < count; ++s) {
    const int64_t i = i0 + (i1 - i0) * s / count;
    const int64_t end = i0 + (i1 - i0) * (s + 1) / count;
    Tile8 tile{static_cast<int>(end - i),
               0,
               panels.blocks,
               r.depth,
               panels.last_depth,
               r.codes + i * r.row_bytes(),
               r.row_bytes(),
               r.scales + i * r.all_blocks(),
               r.all_blocks(),
               panels.at,
               c + i * ldc + panels.j0,
               ldc,
               accumulate};
    for (int64_t j = panels.j0; j < panels.j1; j += kCols8) {
      tile.n = static_cast<int>(std::min<int64_t>(kCols8, panels.j1 - j));
      kernel.tile(tile);
      tile.b += panels.bytes;
      tile.c += kCols8;
    }
  }
}

// Of rows [begin, end).
void round_a(const Problem& t, const Rounded& r, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    uint8_t* codes = r.codes + i * r.row_bytes();
    for (int64_t block = 0; block < r.blocks(); ++block, codes += r.depth) {
      const int64_t count = r.count_of(block);
      r.scales[i * r.all_blocks() + block] =
          t.alpha * micro8().round_row(t.a + i * t.a_row + r.begin_of(block), count, codes);
      std::fill(codes + count, codes + r.depth, static_cast<uint8_t>(kMostA8));
    }
  }
}

// dh of rows [begin, end) as far as these k's give it, and where they are the last its codes.
void make_inner(const Rounded& r, int64_t begin, int64_t end, const Panels& b, const ThinTerm& thin,
                bool is_last) {
  multiply(r, begin, end, b, thin.dh, thin.rank, r.first > 0);
  for (int64_t i = begin; is_last && i < end; ++i) {
    float* dh = thin.dh + i * thin.rank;
    for (int64_t q = 0; q < thin.rank; ++q) dh[q] *= thin.scaling;
    r.scales[(i + 1) * r.all_blocks() - 1] =
        micro8().round_row(dh, thin.rank, r.codes + i * r.row_bytes() + r.blocks() * r.depth);
  }
}

// Columns [from, to) of B in one block, as this block of the panels.
void pack_block(const Source& b, const Rounded& r, int64_t block, const Panels& panels,
                int64_t from, int64_t to) {
  const int64_t count = r.count_of(block);
  const int64_t row = r.begin_of(block);
  if (b.decoder == nullptr) {
    const float* rows = b.dense + row * b.ld + from;
    return round_block(panels, block, r.depth, from, to, rows, b.ld, count);
  }
  const int64_t wide = to - from;
  float* buffer = scratch(Scratch::kRows, static_cast<size_t>(r.depth * wide));
  for (int64_t p = 0; p < count; ++p)
    decode_row(*b.decoder, row + p, row + count, from, to, buffer + p * wide);
  round_block(panels, block, r.depth, from, to, buffer, wide, count);
}

// Packs B and what meets dh.
void pack(const Problem& t, const Rounded& r, const ThinTerm* thin, const Panels& panels) {
  const int64_t granule = t.b.decoder != nullptr ? t.b.decoder->granule : 1;
  const int64_t wide = round_up(kBufferCols, granule);
  for (int64_t from = panels.j0; from < panels.j1; from += wide) {
    const int64_t to = std::min(panels.j1, from + wide);
    for (int64_t block = 0; block < r.blocks(); ++block)
      pack_block(t.b, r, block, panels, from, to);
    if (r.rank > 0)
      round_block(panels, r.blocks(), r.thin_depth(), from, to, thin->u + from, t.n, r.rank);
  }
}

// One thread's rectangle of C.
void rectangle(const Problem& t, const Rounded& r, const ThinTerm* thin, int64_t i0, int64_t i1,
               int64_t j0, int64_t j1) {
  const int64_t unit = column_unit(t, kCols8);
  const int64_t wide = std::max(unit, kPanelBytes / r.row_bytes() / unit * unit);
  for (int64_t j = j0; j < j1; j += wide) {
    const Panels panels = panels_of(r, true, j, std::min(j1, j + wide));
    pack(t, r, thin, panels);
    multiply(r, i0, i1, panels, t.c, t.n, t.accumulate || r.first > 0);
  }
}

// All rows of A, and with a LoRA dh.
void round_rows(const Problem& t, const Rounded& r, const ThinTerm* thin) {
  Panels b{};
  if (thin != nullptr) {
    b = panels_of(r, false, 0, thin->rank);
    for (int64_t block = 0; block < r.blocks(); ++block) {
      const float* rows = thin->b + r.begin_of(block) * thin->rank;
      round_block(b, block, r.depth, 0, thin->rank, rows, thin->rank, r.count_of(block));
    }
  }
  const int64_t grain = std::max<int64_t>(micro8().rows, kGrainCodes / r.row_bytes());
  parallel_for(t.m, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += grain) {
      const int64_t stop = std::min(end, i + grain);
      round_a(t, r, i, stop);
      if (thin != nullptr) make_inner(r, i, stop, b, *thin, r.rank > 0);
    }
  });
}

// C (+)= A B over the k's that are rounded.
void multiply(const Problem& t, const Rounded& r, const ThinTerm* thin) {
  deal_rectangles(t, micro8().rows, column_unit(t, kCols8), pack_cost(t),
                  [&](int64_t i0, int64_t i1, int64_t j0, int64_t j1) {
                    rectangle(t, r, thin, i0, i1, j0, j1);
                  });
}

void multiply(const Problem& t, const ThinTerm* thin) {
  const int64_t m = t.m, k = t.k;
  const int64_t depth = depth_of(k);
  const int64_t most = std::clamp<int64_t>(kMostBytes / (m * depth), 1, kBlocksOfPart8);
  for (int64_t first = 0; first < k; first += most * depth) {
    Rounded rounded{first, std::min(k - first, most * depth), depth, 0, nullptr, nullptr};
    if (thin != nullptr && first + rounded.count == k) rounded.rank = thin->rank;
    const int64_t codes = m * rounded.row_bytes() / 4;  // kStep8 is a multiple of 4
    float* memory =
        scratch(Scratch::kStrips, static_cast<size_t>(codes + m * rounded.all_blocks()));
    rounded.codes = reinterpret_cast<uint8_t*>(memory);
    rounded.scales = memory + codes;
    round_rows(t, rounded, thin);
    multiply(t, rounded, thin);
  }
}

}  // namespace

void multiply8(const Problem& t) {
  multiply(t, nullptr);
}

void multiply_nn8(const RoundedRows& a, int64_t n, const RowDecoder& w, float* c) {
  const Problem t{a.rows(), n, a.cols(), nullptr, 0, 1, {.decoder = &w, .ld = n}, c, false, 1};
  constexpr int64_t kPart = kBlocksOfPart8 * kDepth8;
  for (int64_t first = 0; first < t.k; first += kPart) {
    const RoundedRows::Place at = a.place_of(0, first);
    const int64_t count = std::min(kPart, t.k - first);
    multiply(t,
             {first, count, kDepth8, 0, a.codes<uint8_t>() + at.code, a.scales() + at.scale, true},
             nullptr);
  }
}

void gemm_nn_int8(int64_t m, int64_t n, int64_t k, const float* a, const RowDecoder& w,
                  const ThinTerm& thin, float* c, bool accumulate) {
  MOXIE_ASSERT(k > 0 && thin.rank <= ThinTerm::kMostRank);
  if (m > 0) multiply({m, n, k, a, k, 1, {.decoder = &w, .ld = n}, c, accumulate, 1}, &thin);
}

}  // namespace moxie::kernels
