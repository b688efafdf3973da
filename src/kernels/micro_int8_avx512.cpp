#ifndef MOXIE_SCALAR_ONLY
#include <type_traits>

#include "kernels/micro_tiles_avx512.h"

namespace moxie::kernels {
namespace {

// Rows [from, from + kRows) of a block, of 16 kB columns.
template <int kRows, int kB>
void multiply_rows(const TileBlock& t, int from) {
  const auto* a = reinterpret_cast<const Int8TileA*>(t.a) + from / 16;
  const auto* b = reinterpret_cast<const Int8TileB*>(t.b);
  const int line = from % 16;
  __m512 sums[kRows][kB], parts[kRows][kB];
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kB; ++j) sums[i][j] = parts[i][j] = _mm512_setzero_ps();
  }
  for (int64_t p = 0; p < t.depth; ++p, a += 2, b += 2) {
    __m512i codes[kRows][kB];
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      for (int j = 0; j < kB; ++j) codes[i][j] = _mm512_set1_epi32(a->starts[line + i]);
    }
#pragma GCC unroll 8
    for (int q = 0; q < 8; ++q) {
      __m512i w[kB];
      for (int j = 0; j < kB; ++j) w[j] = _mm512_loadu_si512(b[j].codes[q]);
#pragma GCC unroll 8
      for (int i = 0; i < kRows; ++i) {
        int32_t four;
        std::memcpy(&four, a->codes[line + i] + 4 * q, 4);
        const __m512i x = _mm512_set1_epi32(four);
#pragma GCC unroll 2
        for (int j = 0; j < kB; ++j) codes[i][j] = _mm512_dpbusd_epi32(codes[i][j], w[j], x);
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      const __m512 scale = _mm512_set1_ps(a->scales[line + i]);
      for (int j = 0; j < kB; ++j)
        parts[i][j] = _mm512_fmadd_ps(scale, _mm512_cvtepi32_ps(codes[i][j]), parts[i][j]);
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
      for (int j = 0; b->has_minima != 0 && j < kB; ++j) {
        const __m512 minima = _mm512_loadu_ps(b[j].minima);
#pragma GCC unroll 8
        for (int i = 0; i < kRows; ++i)
          sums[i][j] = _mm512_fmadd_ps(_mm512_set1_ps(a->sums[line + i]), minima, sums[i][j]);
      }
    }
  }
  put_sums(t, from, sums);
}

void multiply(const TileBlock& t) {
  if (t.cols > 16) {  // eight sums at a time either way
    for (int i = 0; i < t.rows; i += 4) multiply_rows<4, 2>(t, i);
  } else {
    for (int i = 0; i < t.rows; i += 8) multiply_rows<8, 1>(t, i);
  }
}

// rounding_steps() of 16 lines by the bits of their largest magnitudes.
struct Steps {
  __m512 scales, inverses;
  __mmask16 used;  // the others' codes are 0: infinite, no numbers or too small
};
Steps steps_of(__m512i magnitudes) {
  const __m512 top = _mm512_castsi512_ps(magnitudes);
  const __m512 unit = _mm512_set1_ps(127.0f);
  const __mmask16 none = _mm512_cmpge_epi32_mask(magnitudes, _mm512_set1_epi32(0x7F800000));
  const __mmask16 small = _mm512_cmp_ps_mask(top, _mm512_set1_ps(0x1.0p-119f), _CMP_LT_OQ);
  const auto used = static_cast<__mmask16>(~(none | small));
  const __m512 scales = _mm512_maskz_div_ps(used, top, unit);
  const __m512 nan = _mm512_castsi512_ps(_mm512_set1_epi32(0x7FC00000));
  return {_mm512_mask_mov_ps(scales, none, nan), _mm512_maskz_div_ps(used, unit, top), used};
}

__m512i magnitudes(__m512 x) {
  return _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7FFFFFFF));
}

// Lane i: the largest lane of v[i].
__m512i largest_of(const __m512i (&v)[16]) {
  const auto join = [](__m512i a, __m512i b) { return _mm512_max_epi32(a, b); };
  __m512i fours[4];  // lane 4 l + r: lane l of 128 bits of row 4 f + r
  for (int f = 0; f < 4; ++f) {
    const __m512i* r = v + 4 * f;
    const __m512i low = join(_mm512_unpacklo_epi32(r[0], r[1]), _mm512_unpackhi_epi32(r[0], r[1]));
    const __m512i high = join(_mm512_unpacklo_epi32(r[2], r[3]), _mm512_unpackhi_epi32(r[2], r[3]));
    fours[f] = join(_mm512_unpacklo_epi64(low, high), _mm512_unpackhi_epi64(low, high));
  }
  __m512i eights[2];
  for (int e = 0; e < 2; ++e) {
    const __m512i a = fours[2 * e], b = fours[2 * e + 1];
    eights[e] = join(_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xDD));
  }
  return join(_mm512_shuffle_i32x4(eights[0], eights[1], 0x88),
              _mm512_shuffle_i32x4(eights[0], eights[1], 0xDD));
}

__m512 widened(__m256i halves) {  // of bf16
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}
__m512 load16(const float* src) {
  return _mm512_loadu_ps(src);
}
__m512 load16(const BFloat16* src) {
  return widened(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(src)));
}
__m512 load16(const float* src, __mmask16 mask) {
  return _mm512_maskz_loadu_ps(mask, src);
}
__m512 load16(const BFloat16* src, __mmask16 mask) {
  return widened(_mm256_maskz_loadu_epi16(mask, src));
}

void store_factors(__m512 scales, __m512i sums, Int8TileA& tile) {
  _mm512_storeu_ps(tile.scales, scales);
  _mm512_storeu_si512(tile.starts,
                      _mm512_slli_epi32(_mm512_sub_epi32(_mm512_setzero_si512(), sums), 7));
  _mm512_storeu_ps(tile.sums, _mm512_mul_ps(scales, _mm512_cvtepi32_ps(sums)));
}

// The low bytes of four registers, side by side.
__m512i fours_of(const __m512i* codes) {
  const __m512i low =
      _mm512_mask_blend_epi16(0xAAAAAAAA, codes[0], _mm512_slli_epi32(codes[2], 16));
  const __m512i high =
      _mm512_mask_blend_epi16(0xAAAAAAAA, codes[1], _mm512_slli_epi32(codes[3], 16));
  return _mm512_mask_blend_epi8(0xAAAAAAAAAAAAAAAAu, low, _mm512_slli_epi16(high, 8));
}

void store_b(const __m512i* fours, __m512 scales, bool ends_block, Int8TileB& tile) {
  for (int q = 0; q < 8; ++q) {
    _mm512_storeu_si512(tile.codes[q],
                        _mm512_xor_si512(fours[q], _mm512_set1_epi8(static_cast<char>(0x80))));
  }
  _mm512_storeu_ps(tile.scales, scales);
  tile.ends_block = ends_block ? 1 : 0;
  tile.has_minima = 0;
}

void store_a(const __m512i* fours, __m512 scales, Int8TileA& tile) {
  __m512i sums = _mm512_setzero_si512();
  __m512i rows[16];  // the fours, then nothing
  for (int q = 0; q < 8; ++q) {
    sums = _mm512_dpbusd_epi32(sums, _mm512_set1_epi8(1), fours[q]);
    rows[q] = fours[q];
    rows[8 + q] = _mm512_setzero_si512();
  }
  __m512i lines[16];
  transpose_words(rows, lines);
  for (int i = 0; i < 16; ++i) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(tile.codes[i]),
                        _mm512_castsi512_si256(lines[i]));
  }
  store_factors(scales, sums, tile);
}

// Codes of two lines as packing leaves them: in quarter l of a register elements 4 l .. 4 l + 3 of
// both lines' numbers and 16 + 4 l .. 16 + 4 l + 3 of these, the first line's words before the
// second's.
__m512i pack_two(__m512i low, __m512i high, __m512i next_low, __m512i next_high) {
  return _mm512_packs_epi16(_mm512_packs_epi32(low, high), _mm512_packs_epi32(next_low, next_high));
}

// Words 0 and 2, or 1 and 3, of each quarter of a and then of b.
template <int kWords>
__m512i words_of(__m512i a, __m512i b) {
  return _mm512_castps_si512(
      _mm512_shuffle_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), kWords));
}
constexpr int kEven = 0x88, kOdd = 0xDD;

// Lane i: the sum of line i's codes, of eight such pairs of lines.
__m512i sums_of(const __m512i (&pairs)[8]) {
  __m512i fours[4];  // in each quarter part of the sums of four lines
  for (int m = 0; m < 4; ++m) {
    const auto sum = [&](int i) {
      return _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1), pairs[2 * m + i]);
    };
    const __m512i a = sum(0), b = sum(1);
    fours[m] = _mm512_add_epi32(words_of<kEven>(a, b), words_of<kOdd>(a, b));
  }
  const auto add_quarters = [](__m512i a, __m512i b) {
    return _mm512_add_epi32(_mm512_shuffle_i32x4(a, b, kEven), _mm512_shuffle_i32x4(a, b, kOdd));
  };
  return add_quarters(add_quarters(fours[0], fours[1]), add_quarters(fours[2], fours[3]));
}

void store_lines(const __m512i (&pairs)[8], Int8TileA& tile) {
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  for (int j = 0; j < 8; ++j)
    _mm512_storeu_si512(tile.codes[2 * j], _mm512_permutexvar_epi32(order, pairs[j]));
}

// fours[q]: codes 4 q .. 4 q + 3 of all lines.
void turn_lines(const __m512i (&pairs)[8], __m512i (&fours)[8]) {
  const auto turn_half = [&](auto words, __m512i* out) {
    __m512i v[4];  // in quarter q of v[m] word q of lines 4 m .. 4 m + 3
    for (int m = 0; m < 4; ++m) v[m] = words_of<words()>(pairs[2 * m], pairs[2 * m + 1]);
    const __m512i a = _mm512_shuffle_i32x4(v[0], v[1], 0x44);
    const __m512i b = _mm512_shuffle_i32x4(v[2], v[3], 0x44);
    const __m512i c = _mm512_shuffle_i32x4(v[0], v[1], 0xEE);
    const __m512i d = _mm512_shuffle_i32x4(v[2], v[3], 0xEE);
    out[0] = _mm512_shuffle_i32x4(a, b, kEven);
    out[1] = _mm512_shuffle_i32x4(a, b, kOdd);
    out[2] = _mm512_shuffle_i32x4(c, d, kEven);
    out[3] = _mm512_shuffle_i32x4(c, d, kOdd);
  };
  turn_half(std::integral_constant<int, kEven>{}, fours);
  turn_half(std::integral_constant<int, kOdd>{}, fours + 4);
}

struct Span {  // a block's numbers along k
  int64_t begin, end;
};
// Where the tile of a band stands that holds numbers from p on of its first 16 lines, or the
// others.
BFloat16* tile_at(BFloat16* band, int64_t p, bool is_second) {
  return band + (p / kTileDepth * 2 + (is_second ? 1 : 0)) * tile_size(Tiles::kInt8);
}
template <class F>
void for_blocks(int64_t k, Side side, F f) {
  const int64_t block = side == Side::kA ? kTileDepth : kInt8Block;
  for (int64_t p = 0; p < k; p += block) f(Span{p, std::min(k, p + block)});
}

// Sixteen lines of a block, of which read(i, p, low, high) gives 32 numbers of line i.
template <class Read>
void along_block(const Read& read, Span span, Side side, bool is_second, BFloat16* band) {
  __m512 low, high;
  __m512i most[16];
  for (auto& v : most) v = _mm512_setzero_si512();
  for (int64_t p = span.begin; p < span.end; p += kTileDepth) {
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
      read(i, p, low, high);
      most[i] = _mm512_max_epi32(most[i], _mm512_max_epi32(magnitudes(low), magnitudes(high)));
    }
  }
  const Steps steps = steps_of(largest_of(most));
  const bool are_all_used = steps.used == 0xFFFF;
  alignas(64) float inverses[16];
  _mm512_store_ps(inverses, steps.inverses);
  for (int64_t p = span.begin; p < span.end; p += kTileDepth) {
    BFloat16* tile = tile_at(band, p, is_second);
    const auto round = [&](int i, __m512i& first, __m512i& second) {
      read(i, p, low, high);
      const __m512 inverse = _mm512_set1_ps(inverses[i]);
      first = _mm512_cvtps_epi32(_mm512_mul_ps(low, inverse));
      second = _mm512_cvtps_epi32(_mm512_mul_ps(high, inverse));
      if (!are_all_used && (steps.used >> i & 1) == 0) first = second = _mm512_setzero_si512();
    };
    __m512i pairs[8];
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
      __m512i codes[4];
      round(2 * j, codes[0], codes[1]);
      round(2 * j + 1, codes[2], codes[3]);
      pairs[j] = pack_two(codes[0], codes[1], codes[2], codes[3]);
    }
    if (side == Side::kA) {
      auto& a = *reinterpret_cast<Int8TileA*>(tile);
      store_lines(pairs, a);
      store_factors(steps.scales, sums_of(pairs), a);
      continue;
    }
    __m512i fours[8];
    turn_lines(pairs, fours);
    store_b(fours, steps.scales, p + kTileDepth >= span.end, *reinterpret_cast<Int8TileB*>(tile));
  }
}

// Asks for what the next sixteen lines hold: of sixteen short streams the CPU's prefetchers see
// little.
template <class T>
void fetch_next_lines(const T* next, int64_t ld, Span span) {
  constexpr int64_t kLine = 64 / sizeof(T);
  for (int64_t i = 0; i < kLines; ++i, next += ld) {
    for (int64_t p = span.begin; p < span.end; p += kLine) __builtin_prefetch(next + p);
  }
}

template <class T>
void along_int8(const T* src, int64_t ld, int64_t lines, int64_t k, Side side, BFloat16* band) {
  for (int64_t first = 0; first < lines; first += kLines, src += kLines * ld) {
    const auto read_whole = [&](int i, int64_t p, __m512& low, __m512& high) {
      low = load16(src + i * ld + p);
      high = load16(src + i * ld + p + 16);
    };
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

// Sixteen lines of a block, of which read(p) gives number p of all.
template <class Read>
void across_block(const Read& read, Span span, Side side, bool is_second, BFloat16* band) {
  __m512i most = _mm512_setzero_si512();
  for (int64_t p = span.begin; p < span.end; ++p)
    most = _mm512_max_epi32(most, magnitudes(read(p)));
  const Steps steps = steps_of(most);
  for (int64_t at = span.begin; at < span.end; at += kTileDepth) {
    BFloat16* tile = tile_at(band, at, is_second);
    __m512i fours[8];
    for (int64_t q = 0; q < 8; ++q) {
      __m512i codes[4];
      for (int64_t i = 0; i < 4; ++i) {
        const int64_t p = at + 4 * q + i;
        const __m512 numbers = p < span.end ? read(p) : _mm512_setzero_ps();
        codes[i] = _mm512_maskz_cvtps_epi32(steps.used, _mm512_mul_ps(numbers, steps.inverses));
      }
      fours[q] = fours_of(codes);
    }
    if (side == Side::kA) {
      store_a(fours, steps.scales, *reinterpret_cast<Int8TileA*>(tile));
    } else {
      store_b(fours, steps.scales, at + kTileDepth >= span.end,
              *reinterpret_cast<Int8TileB*>(tile));
    }
  }
}

template <class T>
void across_int8(const T* src, int64_t ld, int64_t lines, int64_t k, Side side, BFloat16* band) {
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
  const auto widened = [&](int i) {
    const __m128i codes =
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(tile.codes[line + i] + column));
    return _mm512_mul_ps(_mm512_set1_ps(tile.scales[line + i]),
                         _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(codes)));
  };
  return paired(widened(0), widened(1));
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
        int32_t both;
        std::memcpy(&both, a + i * kTileDepth + line, 4);
        const auto row = reinterpret_cast<__m512bh>(_mm512_set1_epi32(both));
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
  for (int column = 0; column < t.cols; column += kLines) {
    for (int from = 0; from < t.rows; from += kLines) {
      t.rows - from > 8 ? multiply_turned_rows<16>(t, step, from, column)
                        : multiply_turned_rows<8>(t, step, from, column);
    }
  }
}

void nothing() {}

}  // namespace

const MicroTiles kMicroInt8Avx512{multiply,
                                  along_int8<float>,
                                  across_int8<float>,
                                  along_int8<BFloat16>,
                                  across_int8<BFloat16>,
                                  turn_int8,
                                  multiply_turned,
                                  nothing,
                                  nothing};

}  // namespace moxie::kernels
#endif
