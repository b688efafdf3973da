#include <algorithm>
#include <cmath>

#include "base/cpu.h"
#include "kernels/micro_tiles.h"
#include "kernels/rounding.h"

namespace moxie::kernels {

const MicroTiles& micro_int8(bool is_wide) {
#ifndef MOXIE_SCALAR_ONLY
  if (has_avx512_vnni()) return is_wide ? kMicroInt8WideAvx512 : kMicroInt8Avx512;
#endif
  return is_wide ? kMicroInt8WideScalar : kMicroInt8Scalar;
}

bool int8_tiles_are_fastest() {
  return &micro_int8() != &kMicroInt8Scalar && !amx_is_active();
}

namespace {

// Tile `index` of a band: two stand side by side along the lines.
Int8TileA& tile_of_a(BFloat16* band, int64_t index) {
  return reinterpret_cast<Int8TileA*>(band)[index];
}
const Int8TileA& tile_of_a(const BFloat16* band, int64_t index) {
  return reinterpret_cast<const Int8TileA*>(band)[index];
}
Int8TileB& tile_of_b(BFloat16* band, int64_t index) {
  return reinterpret_cast<Int8TileB*>(band)[index];
}
const Int8TileB& tile_of_b(const BFloat16* band, int64_t index) {
  return reinterpret_cast<const Int8TileB*>(band)[index];
}

template <bool kIsWide>
void multiply(const TileBlock& t) {
  for (int64_t i = 0; i < t.rows; ++i) {
    for (int64_t j = 0; j < t.cols; ++j) {
      const int64_t row = i % kLines;
      const int64_t line = j % kLines;
      float sum = 0;
      float part = 0;
      int32_t codes = 0;
      bool begins = true;
      for (int64_t tile = 0; tile < t.depth; ++tile) {
        const auto& a = tile_of_a(t.a, 2 * tile + i / kLines);
        const auto& b = tile_of_b(t.b, 2 * tile + j / kLines);
        if (begins || !kIsWide) codes = a.starts[row];
        for (int64_t p = 0; p < kTileDepth; ++p)
          codes += a.codes[row][p] * b.codes[p / 4][line][p % 4];
        begins = b.ends_block != 0;
        if (begins || !kIsWide) part = std::fma(a.scales[row], static_cast<float>(codes), part);
        if (!begins) continue;
        sum = std::fma(part, b.scales[line], sum);
        if (b.has_minima != 0) sum = std::fma(a.sums[row], b.minima[line], sum);
        part = 0;
      }
      float& c = t.c[i * t.ldc + j];
      c = std::fma(t.alpha, sum, t.accumulate ? c : 0.0f);
    }
  }
}

float plain(float x) {
  return x;
}
float plain(BFloat16 x) {
  return to_float(x);
}

// Line i of a band from tile `first` along k on: `count` numbers, which share a scale, and zeros to
// the last tile's end.
void put_line(const float* numbers, int64_t first, int64_t count, Side side, int64_t i,
              BFloat16* band) {
  const int64_t tiles = (count + kTileDepth - 1) / kTileDepth;
  int32_t magnitude = 0;
  for (int64_t p = 0; p < count; ++p) magnitude = std::max(magnitude, magnitude_bits(numbers[p]));
  const RoundingSteps steps = rounding_steps(magnitude, 127);
  int32_t all = 0;
  for (int64_t t = 0; t < tiles; ++t, numbers += kTileDepth) {
    auto& a = tile_of_a(band, 2 * (first + t) + i / kLines);
    auto& b = tile_of_b(band, 2 * (first + t) + i / kLines);
    const int64_t line = i % kLines;
    int32_t sum = 0;
    for (int64_t p = 0; p < kTileDepth; ++p) {
      const int code =
          steps.inverse == 0 ? 0 : static_cast<int>(std::nearbyint(numbers[p] * steps.inverse));
      sum += code;
      if (side != Side::kB) {
        a.codes[line][p] = static_cast<int8_t>(code);
      } else {
        b.codes[p / 4][line][p % 4] = static_cast<uint8_t>(code + 128);
      }
    }
    if (side != Side::kB) {
      all += sum;
      a.scales[line] = steps.scale;
      a.starts[line] = -128 * sum;
      a.sums[line] = steps.scale * static_cast<float>(sum);
    } else {
      b.scales[line] = steps.scale;
      b.ends_block = t + 1 == tiles ? 1 : 0;
      b.has_minima = 0;
      b.is_half = count - t * kTileDepth <= kTileDepth / 2 ? 1 : 0;
    }
  }
  if (side == Side::kWideA) tile_of_a(band, 2 * first + i / kLines).starts[i % kLines] = -128 * all;
}

template <class T>
void pack(const T* src, int64_t line, int64_t step, int64_t lines, int64_t k, Side side,
          BFloat16* band) {
  const int64_t block = side == Side::kA ? kTileDepth : kInt8Block;
  for (int64_t p = 0; p < k; p += block) {
    const int64_t end = std::min(k, p + block);
    for (int64_t i = 0; i < (lines > kLines ? kBandLines : kLines); ++i) {
      float numbers[kInt8Block] = {};
      for (int64_t at = p; i < lines && at < end; ++at)
        numbers[at - p] = plain(src[i * line + at * step]);
      put_line(numbers, p / kTileDepth, end - p, side, i, band);
    }
  }
}

template <class T>
void along(const T* src, int64_t ld, int64_t lines, int64_t k, Side side, BFloat16* band) {
  pack(src, ld, 1, lines, k, side, band);
}

template <class T>
void across(const T* src, int64_t ld, int64_t lines, int64_t k, Side side, BFloat16* band) {
  pack(src, 1, ld, lines, k, side, band);
}

void turn(const BFloat16* a, BFloat16* b) {
  BFloat16 numbers[2 * kTileSize];
  for (int64_t i = 0; i < kBandLines; ++i) {
    const Int8TileA& tile = tile_of_a(a, i / kLines);
    for (int64_t p = 0; p < kTileDepth; ++p) {
      const int64_t line = i % kLines;
      numbers[i * kTileDepth + p] =
          to_bfloat16(static_cast<float>(tile.codes[line][p]) * tile.scales[line]);
    }
  }
  kMicroBF16Scalar.turn(numbers, b);
}

void nothing() {}

constexpr MicroTiles table(void (*multiply)(const TileBlock&)) {
  return {multiply, along<float>, across<float>, along<BFloat16>, across<BFloat16>,
          turn,     nullptr,      nothing,       nothing};
}

}  // namespace

const MicroTiles kMicroInt8Scalar = table(multiply<false>);
const MicroTiles kMicroInt8WideScalar = table(multiply<true>);

}  // namespace moxie::kernels
