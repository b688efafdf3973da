#include <algorithm>

#include "kernels/micro_tiles.h"

namespace moxie::kernels {
namespace {

// Where number p of a line stands in its band.
int64_t place(Side side, int64_t line, int64_t p) {
  const int64_t tile = (p / kTileDepth * 2 + line / kLines) * kTileSize;
  const int64_t i = line % kLines;
  const int64_t at = p % kTileDepth;
  return tile + (side == Side::kA ? i * kTileDepth + at : (at / 2 * kLines + i) * 2 + at % 2);
}

void multiply(const TileBlock& t) {
  for (int64_t i = 0; i < t.rows; ++i) {
    for (int64_t j = 0; j < t.cols; ++j) {
      float sum = 0;
      for (int64_t p = 0; p < t.depth * kTileDepth; ++p) {
        sum += to_float(t.a[place(Side::kA, i, p)]) * to_float(t.b[place(Side::kB, j, p)]);
      }
      float& c = t.c[i * t.ldc + j];
      c = (t.accumulate ? c : 0.0f) + t.alpha * sum;
    }
  }
}

BFloat16 rounded(float x) {
  return to_bfloat16(x);
}
BFloat16 rounded(BFloat16 x) {
  return x;
}

template <class T>
void pack(const T* src, int64_t line, int64_t step, int64_t lines, int64_t k, Side side,
          BFloat16* band) {
  const int64_t depth = (k + kTileDepth - 1) / kTileDepth;
  for (int64_t tile = 0; tile < 2 * depth; ++tile) {
    if (tile % 2 * kLines < lines) std::fill_n(band + tile * kTileSize, kTileSize, BFloat16{});
  }
  for (int64_t i = 0; i < lines; ++i) {
    for (int64_t p = 0; p < k; ++p) band[place(side, i, p)] = rounded(src[i * line + p * step]);
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
  for (int64_t i = 0; i < kBandLines; ++i) {
    for (int64_t p = 0; p < kTileDepth; ++p) b[place(Side::kB, p, i)] = a[place(Side::kA, i, p)];
  }
}

void nothing() {}

}  // namespace

const MicroTiles kMicroBF16Scalar{multiply,        along<float>,     across<float>,
                                  along<BFloat16>, across<BFloat16>, turn,
                                  nullptr,         nothing,          nothing};

}  // namespace moxie::kernels
