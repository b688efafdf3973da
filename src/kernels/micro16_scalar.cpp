#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/micro16.h"
#include "kernels/rounding.h"

// The reference: what the vector kernels are tested against, and what any CPU runs.
namespace moxie::kernels {
namespace {

constexpr int kRows = 4;

int32_t pair_of(int16_t first, int16_t second) {
  return static_cast<int32_t>(static_cast<uint32_t>(static_cast<uint16_t>(first)) |
                              static_cast<uint32_t>(static_cast<uint16_t>(second)) << 16);
}
int32_t low(int32_t pair) {
  return static_cast<int16_t>(pair & 0xFFFF);
}
int32_t high(int32_t pair) {
  return pair >> 16;
}

void tile(const Tile16& t) {
  for (int i = 0; i < t.r; ++i) {
    for (int j = 0; j < t.n; ++j) {
      int32_t sum = 0;
      for (int64_t p = 0; p < t.pairs; ++p) {
        const int32_t a = t.a[i * t.a_row + p * t.a_step];
        const int32_t b = t.b[p * kCols16 + j];
        sum += low(a) * low(b) + high(a) * high(b);
      }
      float& c = t.c[i * t.ldc + j];
      c = std::fma(t.a_scales[i] * t.b_scales[j], static_cast<float>(sum), t.accumulate ? c : 0.0f);
    }
  }
}

float round_row(const float* x, int64_t k, int most, int16_t* codes) {
  if (k % 2 == 1) codes[k] = 0;
  return round_all(x, 1, k, most,
                   [&](int64_t p, int code) { codes[p] = static_cast<int16_t>(code); });
}

float round_spread(const float* x, int64_t k, int16_t* codes) {
  float lanes[kSpreadLanes] = {};
  float top = 0;
  for (int64_t p = 0; p < k; ++p) {
    lanes[p % kSpreadLanes] += std::fabs(x[p]);
    top = std::max(top, std::fabs(x[p]));
  }
  return round_row(x, k, spread_codes(top, lanes), codes);
}

void round_columns(const float* x, int64_t ld, int64_t k, int n, int32_t* panel, float* scales) {
  std::fill_n(panel, (k + 1) / 2 * kCols16, 0);
  std::fill_n(scales, kCols16, 0.0f);
  for (int j = 0; j < n; ++j) {
    scales[j] = round_all(x + j, ld, k, kMost16, [&](int64_t p, int rounded) {
      const auto code = static_cast<int16_t>(rounded);
      int32_t& pair = panel[p / 2 * kCols16 + j];
      pair = p % 2 == 0 ? pair_of(code, 0) : pair_of(static_cast<int16_t>(low(pair)), code);
    });
  }
}

void transpose(int n, int64_t pairs, const int32_t* rows, int32_t* panel) {
  for (int64_t p = 0; p < pairs; ++p) {
    for (int j = 0; j < kCols16; ++j) panel[p * kCols16 + j] = j < n ? rows[j * pairs + p] : 0;
  }
}

}  // namespace

const Micro16 kMicro16Scalar{kRows, tile, round_row, round_spread, round_columns, transpose};

}  // namespace moxie::kernels
