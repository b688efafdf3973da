#include "quant/int8_amx.h"

#ifndef MOXIE_SCALAR_ONLY
#include <immintrin.h>

#include <algorithm>

#include "kernels/tile_config.h"
#include "kernels/transpose_avx512.h"

namespace moxie::quant::amx {
namespace {

constexpr int64_t kAhead = 2;  // groups whose sums are made before those of one are scaled
constexpr int64_t kDeep = 4;   // of which there is room

// Tiles 0 and 1 hold sums, 4 and 5 `depth` codes of each row of a weight, 6 and 7 those of x.
constexpr kernels::TileConfig config_of(uint16_t depth) {
  const auto fours = static_cast<uint8_t>(depth / 4);
  return {.row_bytes = {64, 64, 0, 0, depth, depth, 64, 64},
          .rows = {16, 16, 0, 0, 16, 16, fours, fours}};
}
constexpr kernels::TileConfig kGroups = config_of(kInt8Group);
constexpr kernels::TileConfig kHalves = config_of(kInt8Group / 2);

// Sums of kDeep groups, or of the halves of each.
template <int kRuns>
struct Sums {
  alignas(64) int32_t at[kDeep][kRuns][kLines][kLines];
};

// Sums of group g, or of its halves, by one of two tiles in turn or by both.
template <int kRuns>
[[gnu::always_inline]] inline void sum_group(const WeightGroup& weight, const XGroup& x, int64_t g,
                                             Sums<kRuns>& sums) {
  constexpr int64_t kSecond = kRuns == 2 ? kInt8Group / 2 : 0;  // element that the second begins at
  const int8_t* w = weight.codes[0];
  const int8_t* q = x.codes[0][0];
  auto& to = sums.at[g % kDeep];
  if (kRuns == 2 || g % 2 == 0) {
    _tile_zero(0);
    _tile_loadd(6, q, 64);
    _tile_loadd(4, w, kInt8Group);
    _tile_dpbssd(0, 4, 6);
    _tile_stored(0, to[0], 64);
  }
  if (kRuns == 2 || g % 2 != 0) {
    _tile_zero(1);
    _tile_loadd(7, q + kLines * kSecond, 64);
    _tile_loadd(5, w + kSecond, kInt8Group);
    _tile_dpbssd(1, 5, 7);
    _tile_stored(1, to[kRuns - 1], 64);
  }
}

template <Minima kMinima, Multipliers kMultipliers>
struct Product {
  static constexpr int kRuns = kMultipliers == Multipliers::kHalf ? 2 : 1;

  // acc[r] goes on with a group. Products of multipliers and sums are below 2^24: exact.
  [[gnu::always_inline]] static void scale(const WeightGroup& weight, const XGroup& x,
                                           const int32_t (&sums)[kRuns][kLines][kLines],
                                           __m512 (&acc)[kLines]) {
    const __m512 scales = _mm512_load_ps(x.scales), totals = _mm512_load_ps(x.sums);
#pragma GCC unroll 16
    for (int r = 0; r < kLines; ++r) {
      __m512 sum = _mm512_cvtepi32_ps(_mm512_load_si512(sums[0][r]));
      if constexpr (kMultipliers != Multipliers::kNone)
        sum = _mm512_mul_ps(sum, _mm512_set1_ps(weight.multipliers[0][r]));
      if constexpr (kRuns == 2) {
        const __m512 second = _mm512_cvtepi32_ps(_mm512_load_si512(sums[1][r]));
        sum = _mm512_fmadd_ps(second, _mm512_set1_ps(weight.multipliers[1][r]), sum);
      }
      const __m512 scale = _mm512_mul_ps(scales, _mm512_set1_ps(weight.scales[r]));
      acc[r] = _mm512_fmadd_ps(scale, sum, acc[r]);
      if constexpr (kMinima != Minima::kNone)
        acc[r] = _mm512_fmadd_ps(totals, _mm512_set1_ps(weight.minima[r]), acc[r]);
    }
  }

  // While a group's sums are scaled, tiles make those of the next.
  static void multiply_block(const WeightGroup* weight, const XGroup* x, int64_t groups,
                             const std::byte* next, int64_t share, __m512 (&acc)[kLines]) {
    Sums<kRuns> sums;
    const auto sum = [&](int64_t g) {
      if (g < groups) sum_group<kRuns>(weight[g], x[g], g, sums);
    };
    for (int64_t g = 0; g < kAhead; ++g) sum(g);
    for (int64_t g = 0; g < groups; ++g, next += share) {
      fetch_lines(next, share);
      sum(g + kAhead);
      scale(weight[g], x[g], sums.at[g % kDeep], acc);
    }
  }

  static void multiply(const Part& part) {
    const int64_t blocks = (part.count + kLines - 1) / kLines;
    const int64_t share = part.bytes / (part.groups * blocks);
    const std::byte* next = part.next;
    float* sums = part.sums;
    for (int64_t b = 0; b < blocks; ++b, next += part.groups * share, sums += kLines * kLines) {
      __m512 acc[kLines];
      for (int r = 0; r < kLines; ++r) acc[r] = _mm512_load_ps(sums + kLines * r);
      multiply_block(part.weight, part.x + b * part.x_groups, part.groups, next, share, acc);
      for (int r = 0; r < kLines; ++r) _mm512_store_ps(sums + kLines * r, acc[r]);
    }
  }
};

// Up to 16 words of each of `count` rows, `step` words apart, turned.
void turn(const int32_t* from, int64_t step, int64_t count, int64_t words, __m512i (&out)[16]) {
  const auto mask = static_cast<__mmask16>(words >= 16 ? 0xFFFF : (1 << words) - 1);
  __m512i rows[16];
  for (int64_t i = 0; i < 16; ++i)
    rows[i] = i < count ? _mm512_maskz_loadu_epi32(mask, from + i * step) : _mm512_setzero_si512();
  kernels::transpose_words(rows, out);
}

}  // namespace

void turn_rows(const Int8Rows& x, int64_t first, int64_t count, XGroup* out) {
  constexpr int64_t kWords = kInt8Group / 4;
  const int64_t groups = x.groups();
  for (int64_t i = 0; i < count; i += kLines, out += groups) {
    const Int8Rows rows = x.part(first + i, first + std::min(count, i + kLines));
    __m512i turned[16];
    for (int64_t g = 0; g < groups; g += 2) {
      const auto* codes = reinterpret_cast<const int32_t*>(rows.codes) + g * kWords;
      turn(codes, groups * kWords, rows.count, (groups - g) * kWords, turned);
      for (int64_t k = 0; k < 16 && g + k / kWords < groups; ++k)
        _mm512_store_si512(out[g + k / kWords].codes[k % kWords], turned[k]);
    }
    for (int64_t g = 0; g < groups; g += kLines) {
      const int64_t few = std::min(kLines, groups - g);
      const auto put = [&](const float* from, auto member) {
        turn(reinterpret_cast<const int32_t*>(from + g), groups, rows.count, few, turned);
        for (int64_t k = 0; k < few; ++k) _mm512_store_si512(out[g + k].*member, turned[k]);
      };
      put(rows.scales, &XGroup::scales);
      put(rows.sums, &XGroup::sums);
    }
  }
}

void put(const float* sums, int64_t count, float* y, int64_t ld, bool accumulate) {
  for (int64_t i = 0; i < count; i += kLines, sums += kLines * kLines) {
    __m512i rows[kLines], columns[kLines];
    for (int r = 0; r < kLines; ++r) rows[r] = _mm512_load_si512(sums + kLines * r);
    kernels::transpose_words(rows, columns);
    for (int64_t row = i; row < std::min(count, i + kLines); ++row, y += ld)
      sixteens::put_sums(y, accumulate, _mm512_castsi512_ps(columns[row - i]));
  }
}

Tiles::Tiles(Minima minima, Multipliers multipliers) {
  _tile_loadconfig(multipliers == Multipliers::kHalf ? &kHalves : &kGroups);
  if (multipliers == Multipliers::kHalf) {
    multiply_ = Product<Minima::kNone, Multipliers::kHalf>::multiply;
  } else if (multipliers == Multipliers::kGroup) {
    multiply_ = Product<Minima::kGroup, Multipliers::kGroup>::multiply;
  } else if (minima == Minima::kNone) {
    multiply_ = Product<Minima::kNone, Multipliers::kNone>::multiply;
  } else {
    multiply_ = Product<Minima::kBlock, Multipliers::kNone>::multiply;
  }
}

Tiles::~Tiles() {
  _tile_release();
}

}  // namespace moxie::quant::amx
#endif
