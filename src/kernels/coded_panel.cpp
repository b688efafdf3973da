#include "kernels/coded_panel.h"

#include "kernels/scratch.h"

namespace moxie::kernels {
namespace {

// Floats of a band of `depth` tiles and its scales.
int64_t floats_of(int64_t depth) {
  return depth * kCodesPair / int64_t{sizeof(float)} + kBandLines;
}
Codes codes_at(float* memory, int64_t depth) {
  return {reinterpret_cast<int8_t*>(memory), memory + floats_of(depth) - kBandLines};
}

void multiply_into(const PackedRows& a, int64_t n, const Source& b, const float* thin, float* c,
                   bool accumulate) {
  constexpr int64_t kDeepest = 768;  // of a block: 24 KiB of A stay in L1
  CodedProduct{a, n, b, thin, kDeepest}.run(
      accumulate,
      [&](int64_t i, int64_t j) {
        return SumsPlace{c + i * kBandLines * n + j * kBandLines, n};
      },
      [](int64_t, int64_t) {});
}

}  // namespace

CodedPanel::CodedPanel(int64_t k0, int64_t k1, BFloat16* memory)
    : k0_(k0),
      k1_(k1),
      tiles_(ceil_div(k1 - k0, kTileDepth)),
      memory_(reinterpret_cast<float*>(memory)) {}

int64_t CodedPanel::numbers(int64_t depth, int64_t columns) {
  return 2 * ceil_div(columns, kBandLines) * floats_of(ceil_div(depth, kCodesDepth));
}

void CodedPanel::pack(const Source& b, int64_t j0, int64_t from, int64_t to) const {
  const int64_t size = tiles_ * kTilePair;
  auto* tiles =
      reinterpret_cast<BFloat16*>(scratch(Scratch::kCodes, static_cast<size_t>(size / 2)));
  for (int64_t j = from; j < to; j += kBandLines) {
    const int64_t end = std::min(to, j + kBandLines);
    if (end - j < kBandLines) std::fill_n(tiles, size, BFloat16{});
    pack_tiles(b, Tiles::kBF16, k0_, k1_, j, end, size, tiles);
    micro_codes().code(tiles, tiles_, Side::kB, band(j - j0));
  }
}

Codes CodedPanel::band(int64_t c) const {
  return codes_at(memory_ + c / kBandLines * floats_of(depth()), depth());
}

Codes CodedPanel::code(const BFloat16* rows) const {
  float* memory = scratch(Scratch::kCodes, static_cast<size_t>(floats_of(depth())));
  const Codes codes = codes_at(memory, depth());
  micro_codes().code(rows, tiles_, Side::kA, codes);
  return codes;
}

bool takes_codes(int64_t rows) {
  constexpr int64_t kFew = 64;
  return (rows > kFew || is_batch_invariant()) && codes_are_fastest();
}

void multiply_codes(const Problem& t) {
  PackedRows a(t.m, t.k);
  a.pack(t.a, t.a_row, t.a_step);
  multiply_into(a, t.n, t.b, nullptr, t.c, t.accumulate);
}

void multiply_nn_codes(const PackedRows& a, int64_t n, const RowDecoder& w, const float* thin,
                       float* c, bool accumulate) {
  multiply_into(a, n, {.decoder = &w, .ld = n}, thin, c, accumulate);
}

}  // namespace moxie::kernels
