#include <algorithm>
#include <cmath>
#include <vector>

#include "base/cpu.h"
#include "kernels/micro_codes.h"
#include "kernels/rounding.h"

namespace moxie::kernels {

const MicroCodes& micro_codes() {
#ifndef MOXIE_SCALAR_ONLY
  if (amx_int8_is_active()) return kMicroCodesAmx;
#endif
  return kMicroCodesScalar;
}

bool codes_are_fastest() {
  return &micro_codes() != &kMicroCodesScalar;
}

namespace {

// Number k of a line in tiles of bf16, and its code's place.
const BFloat16& number_of(const BFloat16* band, Side side, int64_t line, int64_t k) {
  const int64_t row = line % kLines, p = k % kTileDepth;
  const int64_t within =
      side == Side::kA ? row * kTileDepth + p : p / 2 * 2 * kLines + 2 * row + p % 2;
  return band[k / kTileDepth * kTilePair + line / kLines * kTileSize + within];
}
int8_t& code_of(const Codes& codes, Side side, int64_t line, int64_t k) {
  const int64_t row = line % kLines, p = k % kCodesDepth;
  const int64_t within =
      side == Side::kA ? row * kCodesDepth + p : p / 4 * 4 * kLines + 4 * row + p % 4;
  return codes.tiles[k / kCodesDepth * kCodesPair + line / kLines * kLines * kCodesDepth + within];
}

void code(const BFloat16* band, int64_t tiles, Side side, const Codes& codes) {
  std::fill_n(codes.tiles, (tiles + 1) / 2 * kCodesPair, int8_t{0});
  const int64_t depth = tiles * kTileDepth;
  std::vector<float> numbers(static_cast<size_t>(depth));
  for (int64_t line = 0; line < kBandLines; ++line) {
    for (int64_t k = 0; k < depth; ++k)
      numbers[static_cast<size_t>(k)] = to_float(number_of(band, side, line, k));
    codes.scales[line] = round_all(numbers.data(), 1, depth, 127, [&](int64_t k, int number) {
      code_of(codes, side, line, k) = static_cast<int8_t>(number);
    });
  }
}

void multiply(const CodedBlock& t) {
  for (int64_t i = 0; i < t.rows; ++i) {
    for (int64_t j = 0; j < t.cols; ++j) {
      int32_t sum = 0;
      for (int64_t k = 0; k < t.depth * kCodesDepth; ++k)
        sum += code_of(t.a, Side::kA, i, k) * code_of(t.b, Side::kB, j, k);
      float& c = t.c[i * t.ldc + j];
      c = std::fma(t.a.scales[i] * t.b.scales[j], static_cast<float>(sum), t.accumulate ? c : 0.0f);
    }
  }
}

}  // namespace

const MicroCodes kMicroCodesScalar{code, multiply};

}  // namespace moxie::kernels
