// Int8 products of many rows of x (prompts): the codes of eight rows of the weight are unpacked
// once into a panel, four elements of each row side by side, so that four codes of x in all lanes
// meet eight outputs at once. Two panels run together, against up to four rows of x.
//
// int8_kernels.h includes this once for each instruction set, with
//   MOXIE_INT8_ISA     the namespace
//   MOXIE_INT8_TARGET  what the compiler may use
//   MOXIE_INT8_DOT     the instruction that adds products of four bytes to 32 bits, if there is one
// Without it pairs are multiplied into 16 bits. Sums of 16 products fit these if codes are counted
// from the middle of their range, so sums begin with what that takes off and may wrap around on the
// way. Codes of 8 bits, whose sums never fit, are kept as 16 bits and multiplied into 32.
#define MOXIE_INT8_HERE [[gnu::target(MOXIE_INT8_TARGET), gnu::always_inline]] inline

namespace moxie::quant::MOXIE_INT8_ISA {

using namespace avx2;  // NOLINT(google-build-using-namespace): what all instruction sets share

#ifdef MOXIE_INT8_DOT
inline constexpr bool kAddsFours = true;
#else
inline constexpr bool kAddsFours = false;
#endif

// A group of eight rows.
template <class F>
struct PanelGroup {
  static constexpr bool kIsWide = F::kBits == 8 && !kAddsFours;
  static constexpr int kRun = F::kMultipliers == Multipliers::kHalf ? 4 : 8;  // k's in one sum
  static constexpr int kRuns = 8 / kRun;
  static_assert(kIsWide || kAddsFours || F::kBits <= 5 || (F::kBits == 6 && kRuns == 2));
  static constexpr int kCentre = kIsWide || kAddsFours ? 0
                                 : F::kBits > 4        ? 1 << (F::kBits - 1)
                                                       : F::kOffset;
  static constexpr int kLeft = kIsWide ? 0 : F::kOffset - kCentre;  // to be taken off yet
  // Elements 4 k .. 4 k + 3; where they are wide, the even two of them in [0] and the odd in [1].
  __m256i codes[kIsWide ? 2 : 1][8];
  __m256i multipliers[kRuns];  // of the halves or of all, as pairs of 16 bits
  __m256 scale, minimum;
};

// The even ones of 32 signed bytes as 16 bits, and the odd ones.
MOXIE_INT8_HERE __m256i even_bytes(__m256i bytes) {
  return _mm256_srai_epi16(_mm256_slli_epi16(bytes, 8), 8);
}
MOXIE_INT8_HERE __m256i odd_bytes(__m256i bytes) {
  return _mm256_srai_epi16(bytes, 8);
}

// The codes of group g of eight rows, elements 4 k .. 4 k + 3 of each in out[k].
template <class F>
MOXIE_INT8_HERE void unpack_group(const std::byte* const* at, int g, __m256i* out) {
  if constexpr (requires { F::kNibblesAt; }) {
    __m256i rows[4];
    for (int r = 0; r < 4; ++r) {
      rows[r] = join(bytes16(at[r] + F::kNibblesAt), bytes16(at[r + 4] + F::kNibblesAt));
    }
    __m256i words[4];
    transpose4(rows, words);
    for (int k = 0; k < 4; ++k) split_nibbles(words[k], &out[k], &out[k + 4]);
  } else {
    __m256i rows[8];
    for (int r = 0; r < 8; ++r) rows[r] = F::codes_avx2(at[r], g);
    transpose8(rows, out);
  }
}

// Unpacks eight rows of `groups` groups, each `step` after the one before.
template <class F>
[[gnu::target(MOXIE_INT8_TARGET)]] inline void fill_panel(const std::byte* const* rows,
                                                          int64_t groups, int step,
                                                          PanelGroup<F>* panel) {
  constexpr int kGroups = F::kBlock / static_cast<int>(kInt8Group);
  const std::byte* at[8];
  for (int r = 0; r < 8; ++r) at[r] = rows[r];
  for (int64_t b = 0; b < groups; b += kGroups) {
    const Factors<F> low(at), high(at + 4);
    for (int g = 0; g < kGroups; ++g, panel += step) {
      unpack_group<F>(at, g, panel->codes[0]);
      if constexpr (PanelGroup<F>::kIsWide) {
        static_assert(F::kOffset == 128 && F::kMultipliers == Multipliers::kNone);
        for (int k = 0; k < 8; ++k) {
          const __m256i bytes = _mm256_xor_si256(panel->codes[0][k], _mm256_set1_epi8(-128));
          panel->codes[0][k] = even_bytes(bytes);
          panel->codes[1][k] = odd_bytes(bytes);
        }
      }
      __m128i first[2], second[2];
      multiplier_pairs(low, g, first);
      multiplier_pairs(high, g, second);
      for (int r = 0; r < PanelGroup<F>::kRuns; ++r)
        panel->multipliers[r] = join(first[r], second[r]);
      panel->scale = join(low.scale, high.scale);
      if constexpr (F::kMinima != Minima::kNone) panel->minimum = minima_of_eight<F>(low, high, g);
    }
    for (auto& row : at) row += F::kBytes;
  }
}

// Sums of 16 bits, or of 32 where there is an instruction for it.
MOXIE_INT8_HERE __m256i add_products(__m256i sum, __m256i codes, __m256i x) {
#ifdef MOXIE_INT8_DOT
  return MOXIE_INT8_DOT(sum, codes, x);
#else
  return _mm256_add_epi16(sum, _mm256_maddubs_epi16(codes, x));
#endif
}

// Such sums times their multipliers, in 32 bits.
template <class F>
MOXIE_INT8_HERE __m256i widen(__m256i sum, __m256i multipliers) {
  if constexpr (F::kMultipliers == Multipliers::kNone) {
    return kAddsFours ? sum : _mm256_madd_epi16(sum, _mm256_set1_epi16(1));
  } else if constexpr (kAddsFours) {
    return _mm256_mullo_epi32(sum, _mm256_srai_epi32(multipliers, 16));
  } else {
    return _mm256_madd_epi16(sum, multipliers);
  }
}

// A group of four rows of x, as panels multiply it.
template <class F>
struct alignas(64) RowsGroup {
  using Panel = PanelGroup<F>;
  int8_t codes[4][Panel::kIsWide ? 64 : 32];  // wide: the even ones as 16 bits, then the odd ones
  // What two sums of 16 bits begin with: -kCentre times the sums of the codes that go to them,
  // which are 0 and 1 of each four, and 2 and 3.
  int32_t starts[Panel::kRuns][4];
  float scales[4], sums[4];  // as in Int8Rows
  int32_t halves[4];
};

template <class F>
MOXIE_INT8_HERE void prepare_group(const Int8Rows& x, int64_t at, int64_t row, RowsGroup<F>& out) {
  using Panel = PanelGroup<F>;
  const __m256i codes = bytes32(reinterpret_cast<const std::byte*>(x.codes + at * kInt8Group));
  auto* to = reinterpret_cast<__m256i*>(out.codes[row]);
  if constexpr (Panel::kIsWide) {
    _mm256_store_si256(to, even_bytes(codes));
    _mm256_store_si256(to + 1, odd_bytes(codes));
  } else {
    _mm256_store_si256(to, codes);
  }
  if constexpr (Panel::kCentre != 0) {
    __m256i sums = _mm256_maddubs_epi16(_mm256_set1_epi8(1), codes);
    sums = _mm256_add_epi16(sums, _mm256_shuffle_epi32(sums, 0x4E));
    sums = _mm256_add_epi16(sums, _mm256_shuffle_epi32(sums, 0xB1));
    sums = _mm256_mullo_epi16(sums, _mm256_set1_epi16(-Panel::kCentre));
    const __m128i low = _mm256_castsi256_si128(sums);
    const __m128i high = _mm256_extracti128_si256(sums, 1);
    out.starts[0][row] = _mm_cvtsi128_si32(Panel::kRuns == 1 ? _mm_add_epi16(low, high) : low);
    if constexpr (Panel::kRuns == 2) out.starts[1][row] = _mm_cvtsi128_si32(high);
  }
  out.scales[row] = x.scales[at];
  if constexpr (F::kMinima != Minima::kNone) out.sums[row] = x.sums[at];
  if constexpr (Panel::kLeft != 0) out.halves[row] = x.halves[at];
}

// Rows [first, end) of x, fours after fours. A copy of x's pointers, as stores of bytes might
// change what a reference refers to.
template <class F>
[[gnu::target(MOXIE_INT8_TARGET)]] inline void prepare_rows(Int8Rows x, int64_t first, int64_t end,
                                                            RowsGroup<F>* out) {
  const int64_t groups = x.groups();
  for (int64_t i = first; i < end; ++i) {
    const int64_t row = i - first;
    for (int64_t g = 0; g < groups; ++g) {
      prepare_group<F>(x, i * groups + g, row % 4, out[row / 4 * groups + g]);
    }
  }
}

// totals[i][s]: for the eight rows of panel s, sum_i multiplier (code_i - kCentre) q_i with row
// `row` + i of x.
template <class F, int kR, int kS>
MOXIE_INT8_HERE void integers_of_panels(const PanelGroup<F>* panels, const RowsGroup<F>& x, int row,
                                        __m256i (*totals)[kS]) {
  using Panel = PanelGroup<F>;
#pragma GCC unroll 2
  for (int r = 0; r < Panel::kRuns; ++r) {
    __m256i run[kR][kS];
#pragma GCC unroll 8
    for (int k = 0; k < Panel::kRun; ++k) {
      __m256i w[kS];
#pragma GCC unroll 2
      for (int s = 0; s < kS; ++s) w[s] = panels[s].codes[0][r * Panel::kRun + k];
#pragma GCC unroll 4
      for (int i = 0; i < kR; ++i) {
        __m256i before = _mm256_setzero_si256();
        if constexpr (Panel::kCentre != 0) before = _mm256_set1_epi32(x.starts[r][row + i]);
        const __m256i q = four_codes(x.codes[row + i] + 4 * (r * Panel::kRun + k));
#pragma GCC unroll 2
        for (int s = 0; s < kS; ++s) {
          run[i][s] = add_products(k == 0 ? before : run[i][s], w[s], q);
        }
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < kR; ++i) {
#pragma GCC unroll 2
      for (int s = 0; s < kS; ++s) {
        const __m256i wide = widen<F>(run[i][s], panels[s].multipliers[r]);
        totals[i][s] = r == 0 ? wide : _mm256_add_epi32(totals[i][s], wide);
      }
    }
  }
}

// The same of wide codes without their offset, with wide x.
template <class F, int kR, int kS>
MOXIE_INT8_HERE void integers_of_wide(const PanelGroup<F>* panels, const RowsGroup<F>& x, int row,
                                      __m256i (*totals)[kS]) {
#pragma GCC unroll 16
  for (int k = 0; k < 16; ++k) {
    __m256i w[kS];
#pragma GCC unroll 2
    for (int s = 0; s < kS; ++s) w[s] = panels[s].codes[k / 8][k % 8];
#pragma GCC unroll 4
    for (int i = 0; i < kR; ++i) {
      const __m256i q = four_codes(x.codes[row + i] + 4 * k);
#pragma GCC unroll 2
      for (int s = 0; s < kS; ++s) {
        const __m256i products = _mm256_madd_epi16(w[s], q);
        totals[i][s] = k == 0 ? products : _mm256_add_epi32(totals[i][s], products);
      }
    }
  }
}

// Takes off kLeft times the sum over halves of multiplier times the sum of x's codes.
template <class F>
MOXIE_INT8_HERE __m256i without_offset(const PanelGroup<F>& panel, __m256i totals,
                                       int32_t half_sums) {
  constexpr int kLeft = PanelGroup<F>::kLeft;
  if constexpr (kLeft == 0) return totals;
  __m256i multiplier = _mm256_set1_epi16(1);
  if constexpr (F::kMultipliers != Multipliers::kNone) {
    multiplier =
        _mm256_blend_epi16(panel.multipliers[0], panel.multipliers[PanelGroup<F>::kRuns - 1], 0xAA);
  }
  const __m256i sums = _mm256_madd_epi16(_mm256_set1_epi32(half_sums), multiplier);
  constexpr int kShift = std::countr_zero(static_cast<unsigned>(kLeft));
  const __m256i left = _mm256_slli_epi32(sums, kShift);
  return kLeft > 0 ? _mm256_sub_epi32(totals, left) : _mm256_add_epi32(totals, left);
}

// kS panels, whose groups alternate, with kR rows of x, from row `row` of a four on; y has `count`
// columns from the panels' first on.
template <class F, int kR, int kS>
[[gnu::target(MOXIE_INT8_TARGET)]] inline void run_tile(const PanelGroup<F>* panels,
                                                        const RowsGroup<F>* x, int64_t groups,
                                                        int row, float* y, int64_t ld,
                                                        int64_t count, bool accumulate) {
  __m256 acc[kR][kS];
#pragma GCC unroll 4
  for (int i = 0; i < kR; ++i) {
#pragma GCC unroll 2
    for (int s = 0; s < kS; ++s) acc[i][s] = _mm256_setzero_ps();
  }
  for (const RowsGroup<F>* x_end = x + groups; x < x_end; ++x, panels += kS) {
    __m256i totals[kR][kS];
    if constexpr (PanelGroup<F>::kIsWide) {
      integers_of_wide<F, kR, kS>(panels, *x, row, totals);
    } else {
      integers_of_panels<F, kR, kS>(panels, *x, row, totals);
    }
#pragma GCC unroll 4
    for (int i = 0; i < kR; ++i) {
#pragma GCC unroll 2
      for (int s = 0; s < kS; ++s) {
        const __m256i sum = without_offset(panels[s], totals[i][s], x->halves[row + i]);
        const __m256 scale = _mm256_mul_ps(panels[s].scale, _mm256_set1_ps(x->scales[row + i]));
        acc[i][s] = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(sum), acc[i][s]);
        if constexpr (F::kMinima != Minima::kNone) {
          const __m256 x_sum = _mm256_set1_ps(x->sums[row + i]);
          acc[i][s] = _mm256_fmadd_ps(panels[s].minimum, x_sum, acc[i][s]);
        }
      }
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < kR; ++i, y += ld) {
#pragma GCC unroll 2
    for (int s = 0; s < kS; ++s) put_eight(y + 8 * s, count - 8 * s, accumulate, acc[i][s]);
  }
}

// kS panels with rows [first, last) of x.
template <class F, int kS>
[[gnu::target(MOXIE_INT8_TARGET)]] inline void run_strip(const Int8Product& p,
                                                         const RowsGroup<F>* x, int64_t first,
                                                         int64_t last, PanelGroup<F>* panels,
                                                         int64_t row, int64_t end) {
  const int64_t groups = p.x.groups();
  for (int s = 0; s < kS; ++s) {
    const std::byte* at[8];
    for (int64_t k = 0; k < 8; ++k) {
      const int64_t r = row + 8 * s + k;
      at[k] = p.weight + (r < end ? r : row) * p.stride;
    }
    fill_panel<F>(at, groups, kS, panels + s);
  }
  // The next rows of the weight come from memory while these are multiplied.
  const std::byte* next = p.weight + (row + 8 * kS) * p.stride;
  const int64_t share = 4 * 8 * kS * p.stride / (last - first);  // for four rows of x
  float* y = p.y + first * p.ld + row;
  int64_t i = first;
  for (; i + 4 <= last; i += 4, x += groups, y += 4 * p.ld, next += share) {
    fetch_lines(next, share);
    run_tile<F, 4, kS>(panels, x, groups, 0, y, p.ld, end - row, p.accumulate);
  }
  for (int k = 0; i < last; ++i, ++k, y += p.ld) {
    run_tile<F, 1, kS>(panels, x, groups, k, y, p.ld, end - row, p.accumulate);
  }
}

template <class F>
void panels(const Int8Product& p, int64_t begin, int64_t end) {
  const int64_t groups = p.x.groups();
  const int64_t most = std::min(p.x.count, kRowsPrepared);
  const int64_t fours = (most + 3) / 4 * groups;
  const auto [panels] = panel_memory<PanelGroup<F>>(2 * groups);
  for (int64_t first = 0; first < p.x.count; first += most) {
    const int64_t last = std::min(p.x.count, first + most);
    const auto [x, is_there] = prepared_rows<RowsGroup<F>>(p.x, first, fours);
    if (!is_there) prepare_rows<F>(p.x, first, last, x);
    for (int64_t row = begin; row < end; row += 16) {
      if (end - row > 8) {
        run_strip<F, 2>(p, x, first, last, panels, row, end);
      } else {
        run_strip<F, 1>(p, x, first, last, panels, row, end);
      }
    }
  }
}

}  // namespace moxie::quant::MOXIE_INT8_ISA

#undef MOXIE_INT8_HERE
#undef MOXIE_INT8_ISA
#undef MOXIE_INT8_TARGET
#undef MOXIE_INT8_DOT
