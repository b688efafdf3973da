#include "kernels/int8_tiles_avx512.h"
#include "kernels/micro_codes.h"

namespace moxie::kernels {
namespace {

constexpr int64_t kHalf = kCodesPair / 2;  // bytes of a tile

// Pairs of numbers of bf16 as two registers of f32: the even ones, the odd ones.
struct Pairs {
  __m512 even, odd;
};
Pairs pairs_of(const BFloat16* src) {
  const __m512i both = _mm512_loadu_si512(src);
  return {
      _mm512_castsi512_ps(_mm512_slli_epi32(both, 16)),
      _mm512_castsi512_ps(_mm512_and_si512(both, _mm512_set1_epi32(static_cast<int>(0xFFFF0000))))};
}
__m512i magnitudes(const Pairs& pairs) {
  return _mm512_max_epi32(kernels::magnitudes(pairs.even), kernels::magnitudes(pairs.odd));
}
__m512i codes_of(__mmask16 used, __m512 numbers, __m512 inverses) {
  return _mm512_maskz_cvtps_epi32(used, _mm512_mul_ps(numbers, inverses));
}

// The 16 lines of `tiles` tiles of bf16, two tiles apart, of A.
void code_a(const BFloat16* from, int64_t tiles, int8_t* to, float* scales) {
  __m512i most[16];
  for (auto& v : most) v = _mm512_setzero_si512();
  for (int64_t p = 0; p < tiles; ++p) {
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
      const __m512i line = _mm512_loadu_si512(from + p * kTilePair + i * kTileDepth);
      most[i] = _mm512_max_epu16(most[i], _mm512_and_si512(line, _mm512_set1_epi16(0x7FFF)));
    }
  }
  for (auto& v : most) {
    v = _mm512_max_epi32(_mm512_slli_epi32(v, 16),
                         _mm512_and_si512(v, _mm512_set1_epi32(0x7FFF0000)));
  }
  const Steps steps = steps_of(largest_of(most));
  _mm512_storeu_ps(scales, steps.scales);
  alignas(64) float inverses[16];
  _mm512_store_ps(inverses, steps.inverses);
  for (int i = 0; i < 16; ++i) {
    const __m512 inverse = _mm512_set1_ps(inverses[i]);
    const auto used = static_cast<__mmask16>((steps.used >> i & 1) != 0 ? 0xFFFF : 0);
    const BFloat16* line = from + i * kTileDepth;
    int8_t* out = to + i * kCodesDepth;
    for (int64_t p = 0; p < tiles; ++p, line += kTilePair) {
      const Pairs numbers = pairs_of(line);
      const __m512i even = codes_of(used, numbers.even, inverse);
      const __m512i odd = codes_of(used, numbers.odd, inverse);
      const __m512i words = _mm512_mask_blend_epi16(0xAAAAAAAA, even, _mm512_slli_epi32(odd, 16));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + p / 2 * kCodesPair + p % 2 * kTileDepth),
                          _mm512_cvtepi16_epi8(words));
    }
  }
}

// The same of B: 16 numbers of each pair of k's stand side by side.
void code_b(const BFloat16* from, int64_t tiles, int8_t* to, float* scales) {
  __m512i most = _mm512_setzero_si512();
  for (int64_t p = 0; p < tiles; ++p) {
    for (int64_t q = 0; q < 16; ++q)
      most = _mm512_max_epi32(most, magnitudes(pairs_of(from + p * kTilePair + 2 * kLines * q)));
  }
  const Steps steps = steps_of(most);
  _mm512_storeu_ps(scales, steps.scales);
  for (int64_t p = 0; p < tiles; ++p) {
    for (int64_t four = 0; four < 8; ++four) {
      const BFloat16* at = from + p * kTilePair + 4 * kLines * four;
      const Pairs low = pairs_of(at), high = pairs_of(at + 2 * kLines);
      const __m512i codes[4] = {codes_of(steps.used, low.even, steps.inverses),
                                codes_of(steps.used, low.odd, steps.inverses),
                                codes_of(steps.used, high.even, steps.inverses),
                                codes_of(steps.used, high.odd, steps.inverses)};
      _mm512_storeu_si512(to + p / 2 * kCodesPair + (p % 2 * 8 + four) * 4 * kLines,
                          fours_of(codes));
    }
  }
}

void code(const BFloat16* band, int64_t tiles, Side side, const Codes& codes) {
  for (int64_t half = 0; half < 2; ++half) {
    const auto run = side == Side::kA ? code_a : code_b;
    run(band + half * kTileSize, tiles, codes.tiles + half * kHalf, codes.scales + half * kLines);
  }
  if (tiles % 2 == 0) return;
  for (int64_t half = 0; half < 2; ++half) {  // the last 32 k's of the last tiles
    int8_t* tile = codes.tiles + tiles / 2 * kCodesPair + half * kHalf;
    for (int64_t i = 0; i < kLines; ++i) {
      const int64_t at =
          side == Side::kA ? i * kCodesDepth + kTileDepth : kHalf / 2 + i * kTileDepth;
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(tile + at), _mm256_setzero_si256());
    }
  }
}

void sum_codes(const CodedBlock& t, int32_t* sums) {
  const int8_t* a = t.a.tiles;
  const int8_t* b = t.b.tiles;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t p = 0; p < t.depth; ++p, a += kCodesPair, b += kCodesPair) {
    _tile_stream_loadd(6, b, 64);
    _tile_loadd(4, a, 64);
    _tile_dpbssd(0, 4, 6);
    _tile_stream_loadd(7, b + kHalf, 64);
    _tile_dpbssd(1, 4, 7);
    _tile_loadd(5, a + kHalf, 64);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  }
  _tile_stored(0, sums, 128);
  _tile_stored(1, sums + 16, 128);
  _tile_stored(2, sums + 16 * 32, 128);
  _tile_stored(3, sums + 16 * 32 + 16, 128);
}

void multiply(const CodedBlock& t) {
  alignas(64) int32_t sums[32 * 32];
  sum_codes(t, sums);
  for (int64_t j = 0; j < t.cols; j += 16) {
    const auto mask = static_cast<__mmask16>(t.cols - j >= 16 ? 0xFFFF : (1 << (t.cols - j)) - 1);
    const __m512 scales = _mm512_loadu_ps(t.b.scales + j);
    for (int64_t i = 0; i < t.rows; ++i) {
      float* c = t.c + i * t.ldc + j;
      const __m512 before = t.accumulate ? _mm512_maskz_loadu_ps(mask, c) : _mm512_setzero_ps();
      const __m512 scale = _mm512_mul_ps(_mm512_set1_ps(t.a.scales[i]), scales);
      const __m512 sum = _mm512_cvtepi32_ps(_mm512_load_si512(sums + 32 * i + j));
      _mm512_mask_storeu_ps(c, mask, _mm512_fmadd_ps(scale, sum, before));
    }
  }
}

}  // namespace

const MicroCodes kMicroCodesAmx{code, multiply};

}  // namespace moxie::kernels
