#ifndef MOXIE_SCALAR_ONLY
#include "base/cpu.h"
#include "kernels/int8_tiles_avx512.h"
#include "kernels/micro_tiles_avx512.h"

namespace moxie::kernels {
namespace {

// Rows [from, from + kRows) of a block, of 16 kB columns.
template <int kRows, int kB, bool kIsWide>
void multiply_rows(const TileBlock& t, int from) {
  const auto* a = reinterpret_cast<const Int8TileA*>(t.a) + from / 16;
  const auto* b = reinterpret_cast<const Int8TileB*>(t.b);
  const int line = from % 16;
  if (t.goes_on) fetch_sums<kRows, kB>(t, from);
  __m512 sums[kRows][kB], parts[kRows][kB];
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kB; ++j) sums[i][j] = parts[i][j] = _mm512_setzero_ps();
  }
  const auto add_half = [&](int half, __m512i(&codes)[kRows][kB]) __attribute__((always_inline)) {
#pragma GCC unroll 4
    for (int q = 4 * half; q < 4 * half + 4; ++q) {
      __m512i w[kB];
      for (int j = 0; j < kB; ++j) w[j] = _mm512_loadu_si512(b[j].codes[q]);
#pragma GCC unroll 8
      for (int i = 0; i < kRows; ++i) {
        const __m512i x = four_bytes(a->codes[line + i] + 4 * q);
#pragma GCC unroll 2
        for (int j = 0; j < kB; ++j) codes[i][j] = _mm512_dpbusd_epi32(codes[i][j], w[j], x);
      }
    }
  };
  for (int64_t p = 0; p < t.depth; ++p, a += 2, b += 2) {
    __m512i codes[kRows][kB];
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      for (int j = 0; j < kB; ++j) codes[i][j] = _mm512_set1_epi32(a->starts[line + i]);
    }
    for (;; ++p, a += 2, b += 2) {  // what shares A's scales: B's block, where they are wide
      add_half(0, codes);
      if (b->is_half == 0) add_half(1, codes);
      if (!kIsWide || b->ends_block != 0) break;
    }
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      const __m512 scale = _mm512_set1_ps(a->scales[line + i]);
      for (int j = 0; j < kB; ++j) {
        const __m512 number = _mm512_cvtepi32_ps(codes[i][j]);
        parts[i][j] =
            kIsWide ? _mm512_mul_ps(scale, number) : _mm512_fmadd_ps(scale, number, parts[i][j]);
      }
    }
    if (b->ends_block != 0) {
      for (int j = 0; j < kB; ++j) {
        const __m512 scales = _mm512_loadu_ps(b[j].scales);
#pragma GCC unroll 8
        for (int i = 0; i < kRows; ++i) {
          sums[i][j] = _mm512_fmadd_ps(parts[i][j], scales, sums[i][j]);
          parts[i][j] = _mm512_setzero_ps();
        }
      }
      for (int j = 0; !kIsWide && b->has_minima != 0 && j < kB; ++j) {
        const __m512 minima = _mm512_loadu_ps(b[j].minima);
#pragma GCC unroll 8
        for (int i = 0; i < kRows; ++i)
          sums[i][j] = _mm512_fmadd_ps(_mm512_set1_ps(a->sums[line + i]), minima, sums[i][j]);
      }
    }
  }
  put_sums(t, from, sums);
}

template <bool kIsWide>
void multiply(const TileBlock& t) {
  if (t.cols > 16) {  // eight sums at a time either way
    for (int i = 0; i < t.rows; i += 4) multiply_rows<4, 2, kIsWide>(t, i);
  } else {
    for (int i = 0; i < t.rows; i += 8) multiply_rows<8, 1, kIsWide>(t, i);
  }
}

// Asks for what the next sixteen lines hold: of sixteen short streams the CPU's prefetchers see
// little.
template <class T>
void fetch_next_lines(const T* next, int64_t ld, Span span) {
  constexpr int64_t kLine = 64 / sizeof(T);
  for (int64_t i = 0; i < kLines; ++i, next += ld) {
    for (int64_t p = span.begin; p < span.end; p += kLine) __builtin_prefetch(next + p, 0, 2);
  }
}

// Sixteen lines whose numbers are all there.
template <class T>
struct WholeLines {
  const T* src;
  int64_t ld;
  void operator()(int i, int64_t p, __m512& low, __m512& high) const {
    low = load16(src + i * ld + p);
    high = load16(src + i * ld + p + 16);
  }
  __m512i largest(int i, Span span) const requires std::is_same_v<T, BFloat16> {
    __m512i most = _mm512_setzero_si512();
    for (int64_t p = span.begin; p < span.end; p += kTileDepth)
      most = larger_magnitudes(most, _mm512_loadu_si512(src + i * ld + p));
    return _mm512_max_epi32(even_magnitudes(most), odd_magnitudes(most));
  }
};

template <class T>
void along_int8(const T* src, int64_t ld, int64_t lines, int64_t k, Side side, BFloat16* band) {
  for (int64_t first = 0; first < lines; first += kLines, src += kLines * ld) {
    const WholeLines<T> read_whole{src, ld};
    const auto read_some = [&](int i, int64_t p, __m512& low, __m512& high) {
      const bool is_there = first + i < lines;
      const __mmask32 some = k - p >= kTileDepth ? ~0u : (1u << (k - p)) - 1;
      const __mmask32 mask = is_there ? some : 0;
      const T* line = src + (is_there ? i : 0) * ld + p;
      low = load16(line, static_cast<__mmask16>(mask));
      high = load16(line + 16, static_cast<__mmask16>(mask >> 16));
    };
    for_blocks(k, side, [&](Span span) {
      const bool is_whole = lines - first >= kLines && (span.end - span.begin) % kTileDepth == 0;
      fetch_next_lines(src + kLines * ld, ld, span);
      is_whole ? along_block(read_whole, span, side, first > 0, band)
               : along_block(read_some, span, side, first > 0, band);
    });
  }
}

// A block of B whose 32 lines stand side by side in bf16. The largest numbers are found among
// halves of words; even lines are rounded apart from odd ones.
void across_whole(const BFloat16* src, int64_t ld, Span span, BFloat16* band) {
  __m512i most = _mm512_setzero_si512();
  for (int64_t p = span.begin; p < span.end; ++p) {
    fetch_next_band(src + p * ld);
    most = larger_magnitudes(most, _mm512_loadu_si512(src + p * ld));
  }
  const Steps even = steps_of(even_magnitudes(most)), odd = steps_of(odd_magnitudes(most));
  const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
  for (int64_t at = span.begin; at < span.end; at += kTileDepth) {
    __m512i fours[2][8];  // of lines 0 to 15 and of the others
    for (int64_t q = 0; q < 8; ++q) {
      __m512i even_codes[4], odd_codes[4];
      for (int64_t i = 0; i < 4; ++i) {
        const int64_t p = at + 4 * q + i;
        const __m512i pairs =
            p < span.end ? _mm512_loadu_si512(src + p * ld) : _mm512_setzero_si512();
        const auto code = [](__m512 numbers, const Steps& steps) {
          return _mm512_maskz_cvtps_epi32(steps.used, _mm512_mul_ps(numbers, steps.inverses));
        };
        even_codes[i] = code(evens(pairs), even);
        odd_codes[i] = code(odds(pairs), odd);
      }
      const __m512i of_evens = fours_of(even_codes), of_odds = fours_of(odd_codes);
      fours[0][q] = _mm512_permutex2var_epi32(of_evens, low, of_odds);
      fours[1][q] = _mm512_permutex2var_epi32(of_evens, high, of_odds);
    }
    for (int half = 0; half < 2; ++half) {
      store_b(fours[half], _mm512_permutex2var_ps(even.scales, half == 0 ? low : high, odd.scales),
              span.end - at, tile_of_b(band, at, half > 0));
    }
  }
}

template <class T>
void across_int8(const T* src, int64_t ld, int64_t lines, int64_t k, Side side, BFloat16* band) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    if (lines == kBandLines && side == Side::kB) {
      return for_blocks(k, side, [&](Span span) { across_whole(src, ld, span, band); });
    }
  }
  for (int64_t first = 0; first < lines; first += kLines, src += kLines) {
    const int64_t count = std::min(kLines, lines - first);
    const auto mask = static_cast<__mmask16>((1u << count) - 1);
    const auto read = [&](int64_t p) { return load16(src + p * ld, mask); };
    for_blocks(k, side, [&](Span span) {
      for (int64_t p = span.begin; p < span.end; ++p) fetch_next_band(src + p * ld);
      across_block(read, span, side, first > 0, band);
    });
  }
}

// Two lines of 16 codes as pairs of numbers.
__m512i pairs_of(const Int8TileA& tile, int line, int column) {
  return paired(numbers_of(tile, line, column), numbers_of(tile, line + 1, column));
}

void turn_int8(const BFloat16* a, BFloat16* b) {
  const auto* tiles = reinterpret_cast<const Int8TileA*>(a);
  for (int line = 0; line < kBandLines; line += 2, b += 2 * kLines) {
    for (int half = 0; half < 2; ++half) {
      _mm512_storeu_si512(b + half * kTileSize,
                          pairs_of(tiles[line / kLines], line % kLines, half * kLines));
    }
  }
}

// Rows [from, from + kRows) of a block and 16 columns from `column` on.
template <int kRows>
void multiply_turned_rows(const TileBlock& t, int64_t step, int from, int column) {
  const BFloat16* a = t.a + from / kLines * kTileSize + from % kLines * kTileDepth;
  const BFloat16* b = t.b;
  __m512 sums[kRows][1];
  for (auto& row : sums) row[0] = _mm512_setzero_ps();
  for (int64_t p = 0; p < t.depth; ++p, a += kTilePair, b += step) {
    const auto* tiles = reinterpret_cast<const Int8TileA*>(b);
    for (int line = 0; line < kBandLines; line += 2) {
      // What comes next stands far away, where no prefetcher of the CPU sees it coming.
      for (int64_t at = 0; column == 0 && at < 3; ++at)
        __builtin_prefetch(reinterpret_cast<const char*>(b + step) + (line / 2 * 3 + at) * 64);
      const auto pairs =
          reinterpret_cast<__m512bh>(pairs_of(tiles[line / kLines], line % kLines, column));
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) {
        const auto row = reinterpret_cast<__m512bh>(four_bytes(a + i * kTileDepth + line));
        sums[i][0] = _mm512_dpbf16_ps(sums[i][0], row, pairs);
      }
    }
  }
  TileBlock part = t;
  part.c += column;
  part.cols = std::min<int64_t>(kLines, t.cols - column);
  put_sums(part, from, sums);
}

void multiply_turned(const TileBlock& t, int64_t step) {
  if (bf16_runs_on_fma()) return multiply_turned_fma(t, step);
  for (int column = 0; column < t.cols; column += kLines) {
    for (int from = 0; from < t.rows; from += kLines) {
      t.rows - from > 8 ? multiply_turned_rows<16>(t, step, from, column)
                        : multiply_turned_rows<8>(t, step, from, column);
    }
  }
}

void nothing() {}

constexpr MicroTiles table(void (*multiply)(const TileBlock&)) {
  return {multiply,
          along_int8<float>,
          across_int8<float>,
          along_int8<BFloat16>,
          across_int8<BFloat16>,
          turn_int8,
          multiply_turned,
          nothing,
          nothing};
}

}  // namespace

const MicroTiles kMicroInt8Avx512 = table(multiply<false>);
const MicroTiles kMicroInt8WideAvx512 = table(multiply<true>);

}  // namespace moxie::kernels
#endif
