#pragma once
// Decoding straight to bf16, for products on CPUs where has_bf16_tiles(): what decode() gives,
// rounded to nearest even (kernels/rounded_avx512.h), in rows or in the tiles that such products
// take (kernels/micro_tiles.h). It takes what a codec states for int8 products (int8_kernels.h).
#include <cstddef>
#include <cstdint>

#include "kernels/micro_tiles.h"
#include "quant/format.h"
#include "quant/int8_kernels.h"
#include "tensor/dtype.h"

#ifndef MOXIE_SCALAR_ONLY
#include "kernels/rounded_avx512.h"
#include "kernels/transpose_avx512.h"

#define MOXIE_BF16_TARGET "avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16"
#define MOXIE_BF16 [[gnu::target(MOXIE_BF16_TARGET), gnu::always_inline]] inline

namespace moxie::quant {

MOXIE_BF16 __m512 half_in_all(const std::byte* src) {
  return _mm512_cvtph_ps(_mm256_set1_epi16(static_cast<int16_t>(avx2::load16(src))));
}
MOXIE_BF16 __m512 times(__m512 d, int64_t by) {
  return _mm512_mul_ps(d, _mm512_set1_ps(static_cast<float>(by)));
}

// What a block's groups share.
template <class F>
struct BlockBF16 {
  static constexpr int kGroups = F::kBlock / static_cast<int>(kInt8Group);
  const std::byte* src;
  __m512 d, minimum;

  MOXIE_BF16 explicit BlockBF16(const std::byte* block) : src(block) {
    d = half_in_all(src + F::kScaleAt);
    minimum = _mm512_setzero_ps();
    if constexpr (F::kMinima != Minima::kNone) minimum = half_in_all(src + F::kScaleAt + 2);
  }

  // Codes of one half of group g times their scale, and the minimum.
  MOXIE_BF16 __m512 value(__m512 codes, int g, int half) const {
    __m512 scale = d;
    if constexpr (F::kMultipliers != Multipliers::kNone)
      scale = times(d, multiplier_of<F>(src, g, half));
    codes = _mm512_mul_ps(scale, codes);
    if constexpr (F::kMinima == Minima::kBlock) {
      codes = _mm512_add_ps(codes, minimum);
    } else if constexpr (F::kMinima == Minima::kGroup) {
      codes =
          _mm512_sub_ps(codes, times(minimum, scale_minimum(src + F::kMultipliersAt, g).minimum));
    }
    return codes;
  }

  // The 32 numbers of group g.
  MOXIE_BF16 __m512i group(int g) const {
    const __m256i codes = F::codes_avx2(src, g);
    if constexpr (F::kBits == 4 && F::kMultipliers != Multipliers::kHalf) {  // each is looked up
      const __m512 all =
          _mm512_sub_ps(_mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                        _mm512_set1_ps(static_cast<float>(F::kOffset)));
      const __m512 levels = value(all, g, 0);
      return _mm512_permutexvar_epi16(_mm512_cvtepu8_epi16(codes),
                                      kernels::rounded(levels, levels));
    } else {
      const __m256i centred =
          _mm256_sub_epi8(codes, _mm256_set1_epi8(static_cast<char>(F::kOffset)));
      const __m512 low = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_castsi256_si128(centred)));
      const __m512 high =
          _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_extracti128_si256(centred, 1)));
      return kernels::rounded(value(low, g, 0), value(high, g, 1));
    }
  }
};

// The 32 numbers of a row's group, or zeros; asks for those of the row that stands `ahead` bytes
// further on.
template <class F>
MOXIE_BF16 __m512i group_of(const std::byte* row, int64_t group, bool is_there, int64_t ahead) {
  constexpr int64_t kGroups = BlockBF16<F>::kGroups;
  const std::byte* block = row + group / kGroups * F::kBytes;
  const auto g = static_cast<int>(group % kGroups);
  __builtin_prefetch(block + ahead + g * F::kBytes / kGroups);
  return is_there ? BlockBF16<F>(block).group(g) : _mm512_setzero_si512();
}

// TilesBF16::decode
template <class F>
[[gnu::target(MOXIE_BF16_TARGET)]] void decode_bf16(const std::byte* rows, int64_t stride,
                                                    int64_t count, int64_t begin, int64_t end,
                                                    BFloat16* dst) noexcept {
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t group = begin; group < end; ++group, dst += kInt8Group)
      _mm512_storeu_si512(dst, group_of<F>(rows + i * stride, group, true, count * stride));
  }
}

// TilesBF16::along
template <class F>
[[gnu::target(MOXIE_BF16_TARGET)]] void along_bf16(const std::byte* rows, int64_t stride,
                                                   int64_t lines, int64_t begin, int64_t end,
                                                   BFloat16* tiles) noexcept {
  for (int64_t group = begin; group < end; ++group, tiles += kernels::kTilePair) {
    __m512i numbers[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i)
      numbers[i] = group_of<F>(rows + i * stride, group, i < lines, 16 * stride);
    __m512i columns[16];
    kernels::transpose_words(numbers, columns);
    for (int q = 0; q < 16; ++q) _mm512_storeu_si512(tiles + 32 * q, columns[q]);
  }
}

// TilesBF16::across
template <class F>
[[gnu::target(MOXIE_BF16_TARGET)]] void across_bf16(const std::byte* rows, int64_t stride,
                                                    int64_t count, int64_t begin, int64_t end,
                                                    int64_t size, BFloat16* bands) noexcept {
  const int64_t ahead = kernels::kTileDepth * stride;
  for (int64_t group = begin; group < end; ++group, bands += size) {
    BFloat16* tile = bands;
    for (int64_t i = 0; i < kernels::kTileDepth; i += 2, tile += 32) {
      const std::byte* row = rows + i * stride;
      const __m512i even = group_of<F>(row, group, i < count, ahead);
      const __m512i odd = group_of<F>(row + stride, group, i + 1 < count, ahead);
      const kernels::WordPairs pairs = kernels::interleave(even, odd);
      _mm512_storeu_si512(tile, pairs.low);
      _mm512_storeu_si512(tile + kernels::kTileSize, pairs.high);
    }
  }
}

}  // namespace moxie::quant
#endif

namespace moxie::quant {

#ifndef MOXIE_SCALAR_ONLY
template <class F>
inline constexpr TilesBF16 kTilesBF16{decode_bf16<F>, along_bf16<F>, across_bf16<F>};
template <class F>
inline constexpr const TilesBF16* kBF16Of = &kTilesBF16<F>;
#else
template <class F>
inline constexpr const TilesBF16* kBF16Of = nullptr;
#endif

}  // namespace moxie::quant
