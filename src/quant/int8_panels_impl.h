// Int8 products of many rows of x (prompts): the codes of eight rows of the weight are unpacked
// once into a panel, four elements of each row side by side, so that four codes of x in all lanes
// meet eight outputs at once. Two panels run together, against up to four rows of x.
//
// int8_kernels.h includes this once for each instruction set, with
//   MOXIE_INT8_ISA     the namespace
//   MOXIE_INT8_TARGET  what the compiler may use
//   MOXIE_INT8_DOT     the instruction that adds products of four bytes to 32 bits, if there is one
// Without it pairs are multiplied into 16 bits, whose sums are widened before they could overflow;
// codes of 8 bits, whose sums would at once, are kept as 16 bits and multiplied into 32.
#define MOXIE_INT8_HERE [[gnu::target(MOXIE_INT8_TARGET), gnu::always_inline]] inline

namespace moxie::quant::MOXIE_INT8_ISA {

using namespace avx2;  // NOLINT(google-build-using-namespace): what all instruction sets share

#ifdef MOXIE_INT8_DOT
inline constexpr bool kAddsFours = true;
#else
inline constexpr bool kAddsFours = false;
#endif

// A group of eight rows. Sums of 16 bits hold kRun products with 8-bit x.
template <class F>
struct PanelGroup {
  static constexpr bool kIsWide = F::kBits == 8 && !kAddsFours;
  static constexpr int kRun = kAddsFours      ? (F::kMultipliers == Multipliers::kHalf ? 4 : 8)
                              : F::kBits == 5 ? 4
                              : F::kBits == 6 ? 2
                                              : 8;
  // Elements 4 k .. 4 k + 3; where they are wide, the even two of them in [0] and the odd in [1].
  __m256i codes[kIsWide ? 2 : 1][8];
  __m256i multipliers[2];  // of each half, as pairs of 16 bits
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

// Unpacks eight rows of `groups` groups.
template <class F>
[[gnu::target(MOXIE_INT8_TARGET)]] inline void fill_panel(const std::byte* const* rows,
                                                          int64_t groups, PanelGroup<F>* panel) {
  constexpr int kGroups = F::kBlock / static_cast<int>(kInt8Group);
  const std::byte* at[8];
  for (int r = 0; r < 8; ++r) at[r] = rows[r];
  for (int64_t b = 0; b < groups; b += kGroups) {
    const Factors<F> low(at), high(at + 4);
    for (int g = 0; g < kGroups; ++g, ++panel) {
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
      for (int h = 0; h < 2; ++h) panel->multipliers[h] = join(first[h], second[h]);
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

// totals[i][s]: for the eight rows of panel s, sum_i multiplier code_i q_i with row i of x.
template <class F, int kR, int kS>
MOXIE_INT8_HERE void integers_of_panels(const PanelGroup<F>* const* panel, const int8_t* const* x,
                                        __m256i (*totals)[kS]) {
  constexpr int kRun = PanelGroup<F>::kRun;
#pragma GCC unroll 4
  for (int from = 0; from < 8; from += kRun) {
    __m256i run[kR][kS];
#pragma GCC unroll 8
    for (int k = from; k < from + kRun; ++k) {
      __m256i w[kS];
#pragma GCC unroll 2
      for (int s = 0; s < kS; ++s) w[s] = panel[s]->codes[0][k];
#pragma GCC unroll 4
      for (int i = 0; i < kR; ++i) {
        const __m256i q = four_codes(x[i] + 4 * k);
#pragma GCC unroll 2
        for (int s = 0; s < kS; ++s) {
          const __m256i before = k == from ? _mm256_setzero_si256() : run[i][s];
          run[i][s] = add_products(before, w[s], q);
        }
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < kR; ++i) {
#pragma GCC unroll 2
      for (int s = 0; s < kS; ++s) {
        const __m256i wide = widen<F>(run[i][s], panel[s]->multipliers[from / 4]);
        totals[i][s] = from == 0 ? wide : _mm256_add_epi32(totals[i][s], wide);
      }
    }
  }
}

// The same of wide codes without their offset, with wide x.
template <class F, int kR, int kS>
MOXIE_INT8_HERE void integers_of_wide(const PanelGroup<F>* const* panel, const int8_t* const* x,
                                      __m256i (*totals)[kS]) {
#pragma GCC unroll 16
  for (int k = 0; k < 16; ++k) {
    __m256i w[kS];
#pragma GCC unroll 2
    for (int s = 0; s < kS; ++s) w[s] = panel[s]->codes[k / 8][k % 8];
#pragma GCC unroll 4
    for (int i = 0; i < kR; ++i) {
      const __m256i q = four_codes(x[i] + 4 * k);
#pragma GCC unroll 2
      for (int s = 0; s < kS; ++s) {
        const __m256i products = _mm256_madd_epi16(w[s], q);
        totals[i][s] = k == 0 ? products : _mm256_add_epi32(totals[i][s], products);
      }
    }
  }
}

// Rows [first, first + count) of x, each group's even codes as 16 bits and then its odd ones.
MOXIE_INT8_HERE void widen_rows(const Int8Rows& x, int64_t first, int64_t count, int8_t* out) {
  const int8_t* end = x.codes + (first + count) * x.cols;
  for (const int8_t* at = x.codes + first * x.cols; at < end; at += kInt8Group, out += 64) {
    const __m256i codes = bytes32(reinterpret_cast<const std::byte*>(at));
    _mm256_store_si256(reinterpret_cast<__m256i*>(out), even_bytes(codes));
    _mm256_store_si256(reinterpret_cast<__m256i*>(out + 32), odd_bytes(codes));
  }
}

// What kOffset takes off: offset times sum over halves of multiplier times the sum of x's codes.
template <class F>
MOXIE_INT8_HERE __m256i without_offset(const PanelGroup<F>& panel, __m256i totals,
                                       __m256i half_sums) {
  if constexpr (F::kOffset == 0 || PanelGroup<F>::kIsWide) return totals;
  __m256i multiplier = _mm256_set1_epi16(1);
  if constexpr (F::kMultipliers != Multipliers::kNone) {
    multiplier = _mm256_blend_epi16(panel.multipliers[0], panel.multipliers[1], 0xAA);
  }
  constexpr int kShift = std::countr_zero(static_cast<unsigned>(F::kOffset));
  return _mm256_sub_epi32(totals,
                          _mm256_slli_epi32(_mm256_madd_epi16(half_sums, multiplier), kShift));
}

// kS panels with kR rows of x from row `first` on: acc[i][s]. Behind the panels there is room for
// four rows of wide x.
template <class F, int kR, int kS>
[[gnu::target(MOXIE_INT8_TARGET)]] inline void panel_tile(PanelGroup<F>* panels, const Int8Rows& x,
                                                          int64_t first, __m256 (*acc)[kS]) {
  constexpr bool kIsWide = PanelGroup<F>::kIsWide;
  const int64_t groups = x.groups();
  const int8_t* q = x.codes + first * x.cols;
  if constexpr (kIsWide) {
    auto* wide = reinterpret_cast<int8_t*>(panels + kS * groups);
    widen_rows(x, first, kR, wide);
    q = wide;
  }
  for (int i = 0; i < kR; ++i) {
    for (int s = 0; s < kS; ++s) acc[i][s] = _mm256_setzero_ps();
  }
  for (int64_t g = 0; g < groups; ++g) {
    const PanelGroup<F>* panel[kS];
    for (int s = 0; s < kS; ++s) panel[s] = panels + s * groups + g;
    const int8_t* codes[kR];
    for (int i = 0; i < kR; ++i) codes[i] = q + (i * groups + g) * (kIsWide ? 2 : 1) * kInt8Group;
    __m256i totals[kR][kS];
    if constexpr (kIsWide) {
      integers_of_wide<F, kR, kS>(panel, codes, totals);
    } else {
      integers_of_panels<F, kR, kS>(panel, codes, totals);
    }
#pragma GCC unroll 4
    for (int i = 0; i < kR; ++i) {
      const int64_t at = (first + i) * groups + g;
      const __m256i half_sums = _mm256_set1_epi32(x.halves[at]);
#pragma GCC unroll 2
      for (int s = 0; s < kS; ++s) {
        const __m256i sum = without_offset(*panel[s], totals[i][s], half_sums);
        const __m256 scale = _mm256_mul_ps(panel[s]->scale, _mm256_set1_ps(x.scales[at]));
        acc[i][s] = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(sum), acc[i][s]);
        if constexpr (F::kMinima != Minima::kNone) {
          acc[i][s] = _mm256_fmadd_ps(panel[s]->minimum, _mm256_set1_ps(x.sums[at]), acc[i][s]);
        }
      }
    }
  }
}

template <class F, int kR, int kS>
[[gnu::target(MOXIE_INT8_TARGET)]] inline void run_tile(const Int8Product& p, PanelGroup<F>* panels,
                                                        int64_t row, int64_t end, int64_t first) {
  __m256 acc[kR][kS];
  panel_tile<F, kR, kS>(panels, p.x, first, acc);
  for (int i = 0; i < kR; ++i) {
    for (int s = 0; s < kS; ++s) {
      const int64_t at = row + 8 * s;
      put_eight(p.y + (first + i) * p.ld + at, end - at, p.accumulate, acc[i][s]);
    }
  }
}

// Asks for the lines of [begin, end), a share of the bytes that the next panels are made of.
MOXIE_INT8_HERE void fetch(const std::byte* begin, const std::byte* end) {
  for (; begin < end; begin += 64) _mm_prefetch(begin, _MM_HINT_T0);
}

template <class F, int kS>
[[gnu::target(MOXIE_INT8_TARGET)]] inline void run_strip(const Int8Product& p,
                                                         PanelGroup<F>* panels, int64_t row,
                                                         int64_t end) {
  // What the registers hold: with several runs there are their totals too.
  constexpr int kR = kAddsFours || PanelGroup<F>::kRun == 8 ? 4 : 2;
  for (int s = 0; s < kS; ++s) {
    const std::byte* rows[8];
    for (int64_t k = 0; k < 8; ++k) {
      const int64_t at = row + 8 * s + k;
      rows[k] = p.weight + (at < end ? at : row) * p.stride;
    }
    fill_panel<F>(rows, p.x.groups(), panels + s * p.x.groups());
  }
  // The next rows of the weight come from memory while these are multiplied.
  const std::byte* next = p.weight + (row + 8 * kS) * p.stride;
  const int64_t share = 8 * kS * p.stride / p.x.count;  // for each row of x
  int64_t i = 0;
  for (; i + kR <= p.x.count; i += kR) {
    fetch(next + i * share, next + (i + kR) * share);
    run_tile<F, kR, kS>(p, panels, row, end, i);
  }
  for (; i < p.x.count; ++i) run_tile<F, 1, kS>(p, panels, row, end, i);
}

template <class F>
void panels(const Int8Product& p, int64_t begin, int64_t end) {
  using Group = PanelGroup<F>;
  const size_t bytes = static_cast<size_t>(2 * p.x.groups()) * sizeof(Group) +
                       static_cast<size_t>(Group::kIsWide ? 4 * 2 * p.x.cols : 0);
  auto* panels = reinterpret_cast<Group*>(
      kernels::scratch(kernels::Scratch::kInt8Panels, bytes / sizeof(float)));
  for (int64_t row = begin; row < end; row += 16) {
    if (end - row > 8) {
      run_strip<F, 2>(p, panels, row, end);
    } else {
      run_strip<F, 1>(p, panels, row, end);
    }
  }
}

}  // namespace moxie::quant::MOXIE_INT8_ISA

#undef MOXIE_INT8_HERE
#undef MOXIE_INT8_ISA
#undef MOXIE_INT8_TARGET
#undef MOXIE_INT8_DOT
