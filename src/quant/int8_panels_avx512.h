#pragma once
// Int8 products of some rows of x (sequences decoded at once), for AVX-512 with VNNI: sixteen rows
// of the weight are unpacked once into a panel, four elements of each side by side, so that four
// codes of x in all lanes meet sixteen outputs at once. Two panels run together, against four rows
// of x. As int8_panels_impl.h, which takes what is left over and the formats that have multipliers
// of less than a group.
#include "quant/int8_sixteens.h"

#ifndef MOXIE_SCALAR_ONLY

namespace moxie::quant::sixteens {

// Of a group of sixteen rows, for formats that have them.
template <Multipliers kKind>
struct PanelMultipliers {};
template <>
struct PanelMultipliers<Multipliers::kGroup> {
  __m512i multipliers;
};

// Nibbles are told apart as they are multiplied: beside a multiplication, that costs nothing.
template <class F>
struct PanelGroup : PanelMultipliers<F::kMultipliers> {
  static constexpr int kParts = kIsNibbles<F> ? 2 : 1;
  __m512i codes[8 / kParts];  // elements 4 k .. 4 k + 3, of nibbles also those 16 later
  __m512 scale, minimum;

  MOXIE_SIXTEENS void load(int k, __m512i* parts) const {
    if constexpr (kParts == 2) {
      split_nibbles(codes[k], &parts[0], &parts[1]);
    } else {
      parts[0] = codes[k];
    }
  }
};

// A group of four rows of x; rows that are not there are 0.
struct alignas(64) FourRows {
  int8_t codes[4][kInt8Group];
  int32_t starts[4];  // what the weight's offset takes off
  float scales[4], sums[4];
};

// Rows [first, first + count) of x, fours after fours.
template <class F>
MOXIE_SIXTEENS void prepare_rows(const Int8Rows& x, int64_t first, int64_t count, FourRows* out) {
  const int64_t groups = x.groups();
  if (count % 4 != 0) std::fill_n(out + count / 4 * groups, groups, FourRows{});
  for (int64_t i = 0; i < count; ++i) {
    FourRows* to = out + i / 4 * groups;
    for (int64_t at = (first + i) * groups, end = at + groups; at < end; ++at, ++to) {
      std::memcpy(to->codes[i % 4], x.codes + at * kInt8Group, kInt8Group);
      const int32_t halves = x.halves[at];
      to->starts[i % 4] = -F::kOffset * (static_cast<int16_t>(halves) + (halves >> 16));
      to->scales[i % 4] = x.scales[at];
      to->sums[i % 4] = x.sums[at];
    }
  }
}

// Four blocks of a scale, a minimum and nibbles, whose words are loaded by fours, blocks or not.
template <class F>
MOXIE_SIXTEENS void fill_four(const Rows& at, int step, PanelGroup<F>* panel) {
  constexpr int kWords = F::kBytes / 4;  // of a block
  static_assert(kWords == 5 && F::kNibblesAt == 4 && F::kMinima == Minima::kBlock);
  __m512i words[4 * kWords];
#pragma GCC unroll 5
  for (int i = 0; i < kWords; ++i) load_words(at, 16 * i, words + 4 * i);
#pragma GCC unroll 4
  for (const __m512i* block = words; block < words + 4 * kWords; block += kWords, panel += step) {
    panel->scale = low_halves(block[0]);
    panel->minimum = high_halves(block[0]);
    std::copy_n(block + 1, 4, panel->codes);
  }
}

// Sixteen rows of the weight, of whose panel each group is `step` after the one before.
template <class F>
MOXIE_SIXTEENS void fill_panel(Rows at, int64_t groups, int step, PanelGroup<F>* panel) {
  constexpr int kGroups = F::kBlock / static_cast<int>(kInt8Group);
  int64_t b = 0;
  if constexpr (kIsNibbles<F> && F::kBytes % 4 == 0) {
    for (; b + 4 <= groups; b += 4, panel += 4 * step) {
      fill_four<F>(at, step, panel);
      at.advance(4 * F::kBytes);
    }
  }
  for (; b < groups; b += kGroups) {
    const Block<F> block(at);
#pragma GCC unroll 8
    for (int g = 0; g < kGroups; ++g, panel += step) {
      if constexpr (kIsNibbles<F>) {
        load_words(at, F::kNibblesAt, panel->codes);
      } else {
        load_fours<F>(at, g, block, panel->codes);
      }
      panel->scale = block.scale;
      if constexpr (F::kMultipliers == Multipliers::kGroup)
        panel->multipliers = block.of_group(block.multipliers, g);
      if constexpr (F::kMinima != Minima::kNone) panel->minimum = block.minimum_of(g);
    }
    at.advance(F::kBytes);
  }
}

// Bytes that come from memory meanwhile, `step` with each group: more at once would have to wait.
struct Ahead {
  const std::byte* at;
  int64_t step;
};

// kS panels, whose groups alternate, with four rows of x, of which y has `rows`.
template <class F, int kS>
MOXIE_SIXTEENS void run_tile(const PanelGroup<F>* panels, const FourRows* x, int64_t groups,
                             float* y, int64_t ld, int64_t rows, bool accumulate, Ahead ahead) {
  constexpr int kParts = PanelGroup<F>::kParts;
  __m512 acc[4][kS];
#pragma GCC unroll 4
  for (auto& row : acc) {
    for (auto& sum : row) sum = _mm512_setzero_ps();
  }
  for (const FourRows* x_end = x + groups; x < x_end; ++x, panels += kS, ahead.at += ahead.step) {
    fetch_lines(ahead.at, ahead.step);
    __m512i sums[4][kS];
#pragma GCC unroll 8
    for (int k = 0; k < 8 / kParts; ++k) {
      __m512i codes[kS][kParts];
#pragma GCC unroll 2
      for (int s = 0; s < kS; ++s) panels[s].load(k, codes[s]);
#pragma GCC unroll 8
      for (int i = 0; i < 4 * kParts; ++i) {
        const int row = i % 4, part = i / 4;
        int32_t four;
        std::memcpy(&four, x->codes[row] + 4 * k + 16 * part, sizeof(four));
#pragma GCC unroll 2
        for (int s = 0; s < kS; ++s) {
          const __m512i before = k + part == 0 ? _mm512_set1_epi32(x->starts[row]) : sums[row][s];
          sums[row][s] = _mm512_dpbusd_epi32(before, codes[s][part], _mm512_set1_epi32(four));
        }
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 2
      for (int s = 0; s < kS; ++s) {
        if constexpr (F::kMultipliers == Multipliers::kGroup)
          sums[i][s] = _mm512_mullo_epi32(sums[i][s], panels[s].multipliers);
        const __m512 scale = _mm512_mul_ps(panels[s].scale, _mm512_set1_ps(x->scales[i]));
        acc[i][s] = _mm512_fmadd_ps(scale, _mm512_cvtepi32_ps(sums[i][s]), acc[i][s]);
        if constexpr (F::kMinima != Minima::kNone)
          acc[i][s] = _mm512_fmadd_ps(panels[s].minimum, _mm512_set1_ps(x->sums[i]), acc[i][s]);
      }
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i, y += ld) {
    if (i >= rows) return;
    for (int s = 0; s < kS; ++s) put_sums(y + kRows * s, accumulate, acc[i][s]);
  }
}

// Rows [row, row + 16 kS) of the weight with rows [first, first + count) of x.
template <class F, int kS>
MOXIE_SIXTEENS void run_strip(const Int8Product& p, const FourRows* x, int64_t first, int64_t count,
                              PanelGroup<F>* panels, int64_t row) {
  const int64_t groups = p.x.groups();
  const std::byte* at = p.weight + row * p.stride;
  for (int s = 0; s < kS; ++s, at += kRows * p.stride)
    fill_panel<F>({at, at + 8 * p.stride, p.stride}, groups, kS, panels + s);
  // The next rows of the weight are asked for while these are multiplied.
  const int64_t parts = (count + 3) / 4 * groups;
  Ahead ahead{at, (kRows * kS * p.stride + parts - 1) / parts};
  float* y = p.y + first * p.ld + row;
  for (int64_t i = 0; i < count; i += 4, x += groups, y += 4 * p.ld) {
    run_tile<F, kS>(panels, x, groups, y, p.ld, count - i, p.accumulate, ahead);
    ahead.at += groups * ahead.step;
  }
}

}  // namespace moxie::quant::sixteens

namespace moxie::quant {

// Rows [begin, end) of the weight, sixteen at a time; returns where fewer are left.
template <class F>
[[gnu::target(MOXIE_SIXTEENS_TARGET)]] int64_t panels_avx512(const Int8Product& p, int64_t begin,
                                                             int64_t end) {
  const int64_t groups = p.x.groups();
  const int64_t most = std::min(p.x.count, kRowsPrepared);
  const int64_t fours = (most + 3) / 4 * groups;
  const auto [panels] = panel_memory<sixteens::PanelGroup<F>>(2 * groups);
  const int64_t whole = begin + (end - begin) / sixteens::kRows * sixteens::kRows;
  for (int64_t first = 0; first < p.x.count; first += most) {
    const int64_t count = std::min(p.x.count - first, most);
    const auto [x, is_there] = prepared_rows<sixteens::FourRows, F::kOffset>(p.x, first, fours);
    if (!is_there) sixteens::prepare_rows<F>(p.x, first, count, x);
    int64_t row = begin;
    for (; row + 2 * sixteens::kRows <= whole; row += 2 * sixteens::kRows)
      sixteens::run_strip<F, 2>(p, x, first, count, panels, row);
    if (row < whole) sixteens::run_strip<F, 1>(p, x, first, count, panels, row);
  }
  return whole;
}

}  // namespace moxie::quant
#endif
