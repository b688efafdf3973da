#include <algorithm>

#include "base/cpu.h"
#include "base/threads.h"
#include "kernels/gemm_parts.h"
#include "kernels/micro_bf16.h"
#include "kernels/scratch.h"

// Products of bf16 numbers in the blocking of gemm.cpp: all threads round and pack A first, then
// each rounds and packs the columns of B that it multiplies.
namespace moxie::kernels {

const MicroBF16& micro_bf16() {
#ifndef MOXIE_SCALAR_ONLY
  if (amx_is_active()) return kMicroBF16Amx;
  if (bf16_is_native()) return kMicroBF16Avx512;
#endif
  return kMicroBF16Scalar;
}

namespace {

constexpr int64_t kDeepest = 576;                // of a block along k: 36 KiB of A pass through L1
constexpr int64_t kPanelNumbers = 192 * 1024;      // of B in L2: 384 KiB
constexpr int64_t kMostNumbers = 4 * 1024 * 1024;  // of A at a time: 8 MiB
constexpr int64_t kGrainNumbers = 16 * 1024;
constexpr int64_t kPackCost = 192;  // of a column of B, in rows of A that are multiplied meanwhile

BFloat16* numbers(Scratch slot, int64_t count) {
  return reinterpret_cast<BFloat16*>(scratch(slot, static_cast<size_t>(count / 2)));
}

// Blocks [first, last) of k, and A's bands in them: [blocks, bands, tiles of a block].
struct PackedA {
  int64_t depth, first, last;
  int64_t bands;
  BFloat16* memory;

  int64_t begin_of(int64_t block) const { return block * depth; }
  int64_t end_of(int64_t block, int64_t k) const { return std::min(k, (block + 1) * depth); }
  int64_t tiles(int64_t block, int64_t k) const {
    return ceil_div(end_of(block, k) - begin_of(block), kTileDepth);
  }
  BFloat16* band(int64_t block, int64_t index, int64_t k) const {
    return memory + (block - first) * bands * depth * kBandLines +
           index * tiles(block, k) * 2 * kTileSize;
  }
};

void pack_a(const Problem& t, const PackedA& a) {
  const MicroBF16& kernel = micro_bf16();
  const int64_t columns = std::min(t.k, a.last * a.depth) - a.begin_of(a.first);
  const int64_t grain = std::max<int64_t>(1, kGrainNumbers / (kBandLines * columns));
  parallel_for(a.bands, grain, [&](int64_t begin, int64_t end) {
    for (int64_t s = begin; s < end; ++s) {
      const int64_t i = s * kBandLines;
      const int64_t lines = std::min(kBandLines, t.m - i);
      for (int64_t block = a.first; block < a.last; ++block) {
        const int64_t k0 = a.begin_of(block);
        const int64_t count = a.end_of(block, t.k) - k0;
        BFloat16* band = a.band(block, s, t.k);
        if (t.a_step == 1) {
          kernel.along(t.a + i * t.a_row + k0, t.a_row, lines, count, Side::kA, band);
        } else {
          kernel.across(t.a + i + k0 * t.a_step, t.a_step, lines, count, Side::kA, band);
        }
      }
    }
  });
}

bool stands_as_bf16(const Source& b) {
  return b.decoder != nullptr && b.decoder->values != nullptr && b.decoder->dtype == DType::kBF16;
}

// Columns [j0, j1) of B in [k0, k1) as bands, where it is given by rows of n.
void pack_rows(const Source& b, int64_t k0, int64_t k1, int64_t j0, int64_t j1, BFloat16* band) {
  const MicroBF16& kernel = micro_bf16();
  const int64_t depth = k1 - k0;
  const int64_t size = round_up(depth, kTileDepth) * kBandLines;
  const bool is_bf16 = stands_as_bf16(b);
  const bool decodes = b.decoder != nullptr && !is_bf16;
  float* buffer = scratch(Scratch::kRows, decodes ? static_cast<size_t>(kLines * depth) : 0);
  for (int64_t j = j0; j < j1; j += kBandLines, band += size) {
    const int64_t count = std::min(kBandLines, j1 - j);
    if (is_bf16) {
      const auto* rows = static_cast<const BFloat16*>(b.decoder->values) + j * b.ld + k0;
      kernel.along_bf16(rows, b.ld, count, depth, Side::kB, band);
      continue;
    }
    if (!decodes) {
      kernel.along(b.dense + j * b.ld + k0, b.ld, count, depth, Side::kB, band);
      continue;
    }
    for (int64_t first = 0; first < count; first += kLines) {
      const int64_t lines = std::min(kLines, count - first);
      for (int64_t i = 0; i < lines; ++i) {
        b.decoder->decode(b.decoder->context, j + first + i, k0, k1, buffer + i * depth);
      }
      kernel.along(buffer, depth, lines, depth, Side::kB, band + first / kLines * kTileSize);
    }
  }
}

// The same of a B that is given by rows of k: 32 of them at a time.
void pack_columns(const Source& b, int64_t k0, int64_t k1, int64_t j0, int64_t j1,
                  BFloat16* bands) {
  const MicroBF16& kernel = micro_bf16();
  const int64_t size = round_up(k1 - k0, kTileDepth) * kBandLines;
  const bool is_bf16 = stands_as_bf16(b);
  const bool decodes = b.decoder != nullptr && !is_bf16;
  const int64_t width = j1 - j0;
  float* buffer = scratch(Scratch::kRows, decodes ? static_cast<size_t>(kTileDepth * width) : 0);
  for (int64_t p = k0; p < k1; p += kTileDepth, bands += 2 * kTileSize) {
    const int64_t depth = std::min(kTileDepth, k1 - p);
    for (int64_t i = 0; decodes && i < depth; ++i) {
      b.decoder->decode(b.decoder->context, p + i, j0, j1, buffer + i * width);
    }
    for (int64_t j = j0; j < j1; j += kBandLines) {
      const int64_t lines = std::min(kBandLines, j1 - j);
      BFloat16* band = bands + (j - j0) / kBandLines * size;
      if (is_bf16) {
        const auto* rows = static_cast<const BFloat16*>(b.decoder->values) + p * b.ld + j;
        kernel.across_bf16(rows, b.ld, lines, depth, Side::kB, band);
      } else if (decodes) {
        kernel.across(buffer + (j - j0), width, lines, depth, Side::kB, band);
      } else {
        kernel.across(b.dense + p * b.ld + j, b.ld, lines, depth, Side::kB, band);
      }
    }
  }
}

// One thread's rectangle of C.
void rectangle(const Problem& t, const PackedA& a, int64_t i0, int64_t i1, int64_t j0, int64_t j1) {
  const MicroBF16& kernel = micro_bf16();
  const TileScope scope;
  const int64_t unit = column_unit(t, kBandLines);
  const int64_t wide = std::max(unit, kPanelNumbers / a.depth / unit * unit);
  BFloat16* panel = numbers(Scratch::kPanels, round_up(std::min(wide, j1 - j0), kBandLines) *
                                                  round_up(a.depth, kTileDepth));
  for (int64_t j = j0; j < j1; j += wide) {
    const int64_t end = std::min(j1, j + wide);
    for (int64_t block = a.first; block < a.last; ++block) {
      (t.b.is_transposed ? pack_rows : pack_columns)(t.b, a.begin_of(block), a.end_of(block, t.k),
                                                     j, end, panel);
      BlockBF16 part{.rows = 0,
                     .cols = 0,
                     .depth = a.tiles(block, t.k),
                     .a = nullptr,
                     .b = nullptr,
                     .c = nullptr,
                     .ldc = t.n,
                     .alpha = t.alpha,
                     .accumulate = t.accumulate || block > 0};
      for (int64_t i = i0; i < i1; i += kBandLines) {
        part.rows = static_cast<int>(std::min(kBandLines, i1 - i));
        part.a = a.band(block, i / kBandLines, t.k);
        part.b = panel;
        for (int64_t c = j; c < end; c += kBandLines, part.b += 2 * kTileSize * part.depth) {
          part.cols = static_cast<int>(std::min(kBandLines, end - c));
          part.c = t.c + i * t.n + c;
          kernel.multiply(part);
        }
      }
    }
  }
}

}  // namespace

void multiply_bf16(const Problem& t) {
  const int64_t depth = round_up(panel_depth(t, kDeepest), kTileDepth);
  const int64_t blocks = ceil_div(t.k, depth);
  const int64_t bands = ceil_div(t.m, kBandLines);
  const int64_t most = std::max<int64_t>(1, kMostNumbers / (bands * kBandLines * depth));
  for (int64_t first = 0; first < blocks; first += most) {
    PackedA a{depth, first, std::min(blocks, first + most), bands, nullptr};
    a.memory = numbers(Scratch::kStrips, (a.last - first) * bands * depth * kBandLines);
    pack_a(t, a);
    deal_rectangles(t, kBandLines, column_unit(t, kBandLines), kPackCost,
                    [&](int64_t i0, int64_t i1, int64_t j0, int64_t j1) {
                      rectangle(t, a, i0, i1, j0, j1);
                    });
  }
}

}  // namespace moxie::kernels
