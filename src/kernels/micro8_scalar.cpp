#include <algorithm>
#include <cmath>

#include "kernels/micro8.h"
#include "kernels/rounding.h"

// The reference: what the vector kernels are tested against, and what any CPU runs.
namespace moxie::kernels {
namespace {

constexpr int kRows = 4;

const Block8& behind(const int8_t* codes, int64_t depth) {
  return *reinterpret_cast<const Block8*>(codes + depth * kCols8);
}

void tile(const Tile8& t) {
  for (int i = 0; i < t.r; ++i) {
    for (int j = 0; j < t.n; ++j) {
      float& c = t.c[i * t.ldc + j];
      if (!t.accumulate) c = 0;
      for (int64_t block = 0; block < t.blocks; ++block) {
        const int64_t depth = block + 1 < t.blocks ? t.depth : t.last_depth;
        const uint8_t* a = t.a + i * t.a_row + block * t.depth;
        const int8_t* b = t.b + block * block8_bytes(t.depth);
        const Block8& ends = behind(b, depth);
        int32_t sum = ends.starts[j];
        for (int64_t p = 0; p < depth; ++p) sum += a[p] * b[p / 4 * 4 * kCols8 + 4 * j + p % 4];
        c = std::fma(t.a_scales[i * t.scales_row + block] * ends.scales[j], static_cast<float>(sum),
                     c);
      }
    }
  }
}

// Codes of at most kMost, stored with kZero added.
template <int kMost, int kZero>
float round(const float* x, int64_t k, uint8_t* codes) {
  std::fill_n(codes, (k + kStep8 - 1) / kStep8 * kStep8, static_cast<uint8_t>(kZero));
  return round_all(x, 1, k, kMost,
                   [&](int64_t p, int code) { codes[p] = static_cast<uint8_t>(code + kZero); });
}

void round_columns(const float* x, int64_t ld, int64_t k, int n, int64_t depth, int8_t* block) {
  std::fill_n(block, depth * kCols8, int8_t{0});
  auto& ends = *reinterpret_cast<Block8*>(block + depth * kCols8);
  ends = {};
  for (int j = 0; j < n; ++j) {
    int sum = 0;
    ends.scales[j] = round_all(x + j, ld, k, kMostB8, [&](int64_t p, int code) {
      block[p / 4 * 4 * kCols8 + 4 * j + p % 4] = static_cast<int8_t>(code);
      sum += code;
    });
    ends.starts[j] = -kMostA8 * sum;
  }
}

}  // namespace

const Micro8 kMicro8Scalar{kRows, tile, round<kMostA8, kMostA8>, round<kMostPositive8, 0>,
                           round_columns};

}  // namespace moxie::kernels
