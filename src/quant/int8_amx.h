#pragma once
// Int8 products of some rows of x (sequences decoded at once) on AMX's tiles (TDPBSSD): the codes
// of sixteen rows of a weight, as they stand along the rows, meet sixteen rows of x, turned. What a
// tile sums up is a group's, or half of one's, and goes through L1 to be scaled: a row of the
// weight a register, and a row of x a lane.
#include <cstdint>

#include "quant/int8_sixteens.h"

#ifndef MOXIE_SCALAR_ONLY
#include "kernels/transpose_avx512.h"

namespace moxie::quant::amx {

using kernels::kLines;  // rows of a weight that meet as many of x

inline constexpr int64_t kDepth = 24;  // groups of both that L1 holds, a multiple of all blocks

// A group of sixteen rows of a weight.
struct alignas(64) WeightGroup {
  int8_t codes[kLines][kInt8Group];  // less the offset
  float scales[kLines], minima[kLines];
  float multipliers[2][kLines];  // of the halves, or of all in the first
};

// A group of sixteen rows of x; those that are not there are 0.
struct alignas(64) XGroup {
  int8_t codes[kInt8Group / 4][kLines][4];
  float scales[kLines], sums[kLines];
};

// Some groups of sixteen rows of a weight, with `count` rows of x, sixteen by sixteen.
struct Part {
  const WeightGroup* weight;
  const XGroup* x;
  int64_t groups, x_groups;  // here, and of all of x
  int64_t count;
  const std::byte* next;  // what is asked for meanwhile
  int64_t bytes;
  float* sums;  // [count / kLines, rounded up][kLines of the weight][kLines of x]
};
using MultiplyPart = void (*)(const Part& part);

// Rows [first, first + count) of x, sixteen after sixteen.
void turn_rows(const Int8Rows& x, int64_t first, int64_t count, XGroup* out);

// y[i * ld + r] (+)= what `sums` have of row r of the weight and row i of x.
void put(const float* sums, int64_t count, float* y, int64_t ld, bool accumulate);

// While one lives, this thread may call what it is for.
class Tiles {
 public:
  Tiles(Minima minima, Multipliers multipliers);
  ~Tiles();
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
  void multiply(const Part& part) const { multiply_(part); }

 private:
  MultiplyPart multiply_;
};

// Four bytes of each row.
MOXIE_SIXTEENS __m512i words_of(const sixteens::Rows& at, int offset) {
  const __m512i eight = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
  const __m512i places = _mm512_mullo_epi64(eight, _mm512_set1_epi64(at.stride));
  return sixteens::join(_mm512_i64gather_epi32(places, at.low + offset, 1),
                        _mm512_i64gather_epi32(places, at.high + offset, 1));
}

// What the groups of a block have besides codes.
template <class F>
MOXIE_SIXTEENS void fill_factors(const sixteens::Rows& at, WeightGroup* out) {
  constexpr int kGroups = F::kBlock / static_cast<int>(kInt8Group);
  if constexpr (F::kMultipliers == Multipliers::kHalf) {
    static_assert(F::kMinima == Minima::kNone && kGroups == 8);
    const __m512 scale = sixteens::high_halves(words_of(at, F::kScaleAt - 2));
    __m512i rows[16], halves[16];
#pragma GCC unroll 16
    for (int r = 0; r < 16; ++r) {
      const __m128i bytes = avx2::bytes16(at(r) + F::kMultipliersAt);
      rows[r] = _mm512_castps_si512(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)));
    }
    kernels::transpose_words(rows, halves);
    for (int g = 0; g < kGroups; ++g) {
      _mm512_store_ps(out[g].scales, scale);
      _mm512_store_si512(out[g].multipliers[0], halves[2 * g]);
      _mm512_store_si512(out[g].multipliers[1], halves[2 * g + 1]);
    }
  } else if constexpr (F::kMultipliers == Multipliers::kNone) {
    static_assert(F::kScaleAt == 0 && kGroups == 1);
    const __m512i words = words_of(at, 0);
    _mm512_store_ps(out->scales, sixteens::low_halves(words));
    if constexpr (F::kMinima != Minima::kNone)
      _mm512_store_ps(out->minima, sixteens::high_halves(words));
  } else {
    const sixteens::Block<F> block(at);
    for (int g = 0; g < kGroups; ++g) {
      _mm512_store_ps(out[g].scales, block.scale);
      _mm512_store_ps(out[g].minima, block.minimum_of(g));
      const __m512i multipliers = block.of_group(block.multipliers, g);
      _mm512_store_ps(out[g].multipliers[0], _mm512_cvtepi32_ps(multipliers));
    }
  }
}

// All groups of sixteen rows of a weight.
template <class F>
MOXIE_SIXTEENS void fill_part(sixteens::Rows at, int64_t groups, WeightGroup* out) {
  constexpr int kGroups = F::kBlock / static_cast<int>(kInt8Group);
  const __m256i offset = _mm256_set1_epi8(static_cast<char>(F::kOffset));
  for (const WeightGroup* end = out + groups; out < end; out += kGroups) {
    for (int g = 0; g < kGroups; ++g) {
#pragma GCC unroll 16
      for (int r = 0; r < 16; ++r) {
        const __m256i codes = _mm256_sub_epi8(F::codes_avx2(at(r), g), offset);
        _mm256_store_si256(reinterpret_cast<__m256i*>(out[g].codes[r]), codes);
      }
    }
    fill_factors<F>(at, out);
    at.advance(F::kBytes);
  }
}

}  // namespace moxie::quant::amx

namespace moxie::quant {

// Rows [begin, end) of the weight, sixteen at a time; returns where fewer are left.
template <class F>
[[gnu::target(MOXIE_SIXTEENS_TARGET)]] int64_t panels_amx(const Int8Product& p, int64_t begin,
                                                          int64_t end) {
  const int64_t groups = p.x.groups();
  const int64_t most = std::min(p.x.count, kRowsPrepared);
  const int64_t blocks = (most + amx::kLines - 1) / amx::kLines;
  const int64_t sums_size = blocks * amx::kLines * amx::kLines;
  const auto [weight, sums] = panel_memory<amx::WeightGroup, float>(amx::kDepth, sums_size);
  const int64_t whole = begin + (end - begin) / amx::kLines * amx::kLines;
  const amx::Tiles tiles(F::kMinima, F::kMultipliers);
  for (int64_t first = 0; first < p.x.count; first += most) {
    const int64_t count = std::min(p.x.count - first, most);
    const auto [x, is_there] = prepared_rows<amx::XGroup>(p.x, first, blocks * groups);
    if (!is_there) amx::turn_rows(p.x, first, count, x);
    for (int64_t row = begin; row < whole; row += amx::kLines) {
      const std::byte* at = p.weight + row * p.stride;
      std::fill_n(sums, sums_size, 0.0f);
      float* y = p.y + first * p.ld + row;
      for (int64_t i = 0; i < count; ++i) __builtin_prefetch(y + i * p.ld, 1);
      for (int64_t g = 0; g < groups; g += amx::kDepth) {
        const int64_t deep = std::min(groups - g, amx::kDepth);
        const int64_t skipped = g * kInt8Group / F::kBlock * F::kBytes;
        const int64_t here = amx::kLines * deep * kInt8Group / F::kBlock * F::kBytes;
        const sixteens::Rows rows{at + skipped, at + skipped + 8 * p.stride, p.stride};
        amx::fill_part<F>(rows, deep, weight);
        tiles.multiply({weight, x + g, deep, groups, count, at + amx::kLines * (p.stride + skipped),
                        here, sums});
      }
      amx::put(sums, count, y, p.ld, p.accumulate);
    }
  }
  return whole;
}

}  // namespace moxie::quant
#endif
