#include "quant/low_rank.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <span>
#include <vector>

#include "base/cpu.h"
#include "base/threads.h"
#include "kernels/micro16.h"
#include "kernels/pair_products.h"
#include "kernels/rounding.h"
#include "quant/codec.h"
#include "quant/format.h"
#include "tensor/dtype.h"

namespace moxie::quant {
namespace {

constexpr int64_t kStrip = LowRankCopy::kStrip;
constexpr int kMostInner = 32767;      // of h's codes
constexpr float kLeast = 0x1.0p-111f;  // of a row of B whose codes are not 0

float largest(const float* x, int64_t n) {  // not finite where one is not
  int32_t most = 0;
  for (int64_t i = 0; i < n; ++i) most = std::max(most, kernels::magnitude_bits(x[i]));
  return std::bit_cast<float>(most);
}

// std::nearbyint of |x| < 2^22, without a call.
float nearest(float x) {
  constexpr float kUnitSteps = 0x1.8p23f;  // numbers about it are 1 apart
  return x + kUnitSteps - kUnitSteps;
}

// The least bf16 that is no smaller than a positive x.
BFloat16 bf16_above(float x) {
  return {static_cast<uint16_t>((std::bit_cast<uint32_t>(x) + 0xFFFF) >> 16)};
}

#ifndef MOXIE_SCALAR_ONLY
constexpr int kMostRows = 6;  // of y, whose sums the registers hold

[[gnu::target("avx2,fma"), gnu::always_inline]] inline __m256 bf16_of_eight(const __m128i* from) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(from)), 16));
}

// Rows [first, first + kR) of y, `width` columns of one strip.
template <int kR>
[[gnu::target("avx2,fma")]] void add_tile(const std::byte* strip, const InnerRows& h, int64_t first,
                                          float* y, int64_t ld, int64_t width) {
  __m256i totals[kR][2];
  for (int i = 0; i < kR; ++i) totals[i][0] = totals[i][1] = _mm256_setzero_si256();
  const auto* words = reinterpret_cast<const __m128i*>(strip);
  const int32_t* codes = h.codes + first * h.pairs;
  // The rows of y stand far apart: no prefetcher of the CPU sees them coming.
  for (int i = 0; i < kR; ++i) _mm_prefetch(y + (first + kR + i) * ld, _MM_HINT_T0);
#pragma GCC unroll 2
  for (int64_t p = 0; p < h.pairs; ++p) {
    const __m256i low = _mm256_cvtepi8_epi16(_mm_loadu_si128(words + 2 + 2 * p));
    const __m256i high = _mm256_cvtepi8_epi16(_mm_loadu_si128(words + 3 + 2 * p));
#pragma GCC unroll 6
    for (int i = 0; i < kR; ++i) {
      const __m256i both = _mm256_set1_epi32(codes[i * h.pairs + p]);
      totals[i][0] = _mm256_add_epi32(totals[i][0], _mm256_madd_epi16(low, both));
      totals[i][1] = _mm256_add_epi32(totals[i][1], _mm256_madd_epi16(high, both));
    }
  }
  const __m256 scales[2] = {bf16_of_eight(words), bf16_of_eight(words + 1)};
#pragma GCC unroll 6
  for (int i = 0; i < kR; ++i) {
    float* row = y + (first + i) * ld;
    float part[kStrip];
    if (width < kStrip) std::copy_n(row, width, part);
    float* at = width < kStrip ? part : row;
    const __m256 step = _mm256_set1_ps(h.scales[first + i]);
    for (int s = 0; s < 2; ++s) {
      const __m256 sum = _mm256_cvtepi32_ps(totals[i][s]);
      const __m256 before = _mm256_loadu_ps(at + 8 * s);
      _mm256_storeu_ps(at + 8 * s, _mm256_fmadd_ps(_mm256_mul_ps(scales[s], step), sum, before));
    }
    if (width < kStrip) std::copy_n(part, width, row);
  }
}

// The same by AVX-512 VNNI, of up to 16 rows.
template <int kR>
[[gnu::target("avx512f,avx512bw,avx512vnni")]] void add_tile_avx512(const std::byte* strip,
                                                                    const InnerRows& h,
                                                                    int64_t first, float* y,
                                                                    int64_t ld, int64_t width) {
  __m512i totals[kR];
#pragma GCC unroll 16
  for (int i = 0; i < kR; ++i) totals[i] = _mm512_setzero_si512();
  const auto* words = reinterpret_cast<const __m256i*>(strip);
  const int64_t row = h.pairs;
  const int32_t* codes = h.codes + first * row;
  const int32_t* fours[] = {codes, codes + 4 * row, codes + 8 * row, codes + 12 * row};
  for (int i = 0; i < kR; ++i) _mm_prefetch(y + (first + kR + i) * ld, _MM_HINT_T0);
  for (int64_t p = 0; p < h.pairs; ++p) {
    const __m512i b = _mm512_cvtepi8_epi16(_mm256_loadu_si256(words + 1 + p));
#pragma GCC unroll 16
    for (int i = 0; i < kR; ++i)
      kernels::add_products(fours[i / 4] + i % 4 * row + p, b, totals[i]);
  }
  const auto mask = static_cast<__mmask16>(width < kStrip ? (1 << width) - 1 : 0xFFFF);
  const __m512 scales =
      _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(words)), 16));
#pragma GCC unroll 16
  for (int i = 0; i < kR; ++i) {
    float* at = y + (first + i) * ld;
    const __m512 scale = _mm512_mul_ps(scales, _mm512_set1_ps(h.scales[first + i]));
    const __m512 sum = _mm512_cvtepi32_ps(totals[i]);
    _mm512_mask_storeu_ps(at, mask, _mm512_fmadd_ps(scale, sum, _mm512_maskz_loadu_ps(mask, at)));
  }
}

using AddTile = void(const std::byte* strip, const InnerRows& h, int64_t first, float* y,
                     int64_t ld, int64_t width);
struct RowsAtOnce {
  int64_t rows;
  AddTile* add;
};
constexpr RowsAtOnce kTilesAvx2[] = {{kMostRows, add_tile<kMostRows>}, {1, add_tile<1>}};
constexpr RowsAtOnce kTilesAvx512[] = {
    {16, add_tile_avx512<16>}, {4, add_tile_avx512<4>}, {1, add_tile_avx512<1>}};
#endif

}  // namespace

void round_inner(const float* h, int64_t rank, const InnerRows& out, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    auto* codes = reinterpret_cast<int16_t*>(out.codes + i * out.pairs);
    out.scales[i] = kernels::micro16().round_row(h + i * rank, rank, kMostInner, codes);
  }
}

LowRankCopy::LowRankCopy(int64_t rank, int64_t cols, int64_t rows)
    : rank_(rank), cols_(cols), rows_(rows) {
  const QuantFormat& format = *require_row(formats(), "format", "q8_0").entry;
  kernels_ = format.int8;
  stride_ = row_bytes(format, cols);
  strips_at_ = (rank * stride_ + kStrip - 1) / kStrip * kStrip;
  memory_ = Tensor::zeros({strips_at_ + (rows + kStrip - 1) / kStrip * strip_bytes()}, DType::kU8);
}

std::shared_ptr<const LowRankCopy> LowRankCopy::make(const float* a, const float* b, int64_t rank,
                                                     int64_t cols, int64_t rows, double scaling) {
  if (rank > kMostRank || cols % kInt8Group != 0) return nullptr;
  const float top = largest(a, rank * cols);
  // Within what f16 holds scales of A's groups stay exact to 11 bits, small as A may be.
  const float unit = top > 0x1.0p-60f && top < 0x1.0p60f ? std::ldexp(1.0f, std::ilogb(top)) : 1.0f;
  const float factor = static_cast<float>(scaling) * unit;
  if (!std::isfinite(top) || !std::isfinite(largest(b, rows * rank) * factor)) return nullptr;
  std::shared_ptr<LowRankCopy> copy(new LowRankCopy(rank, cols, rows));
  copy->unit_ = unit;
  copy->keep_a(a);
  copy->keep_b(b, factor);
  return copy;
}

void LowRankCopy::keep_a(const float* a) {
  const QuantFormat& format = *require_row(formats(), "format", "q8_0").entry;
  parallel_for(rank_, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> scaled(static_cast<size_t>(cols_));
    for (int64_t k = begin; k < end; ++k) {
      std::transform(a + k * cols_, a + (k + 1) * cols_, scaled.begin(),
                     [this](float x) { return x / unit_; });
      format.encode(scaled.data(), memory() + k * stride_, cols_);
    }
  });
}

void LowRankCopy::keep_b(const float* b, float factor) {
  parallel_for(rows_, 64, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      std::byte* strip = strip_of(r);
      const float top = largest(b + r * rank_, rank_) * std::fabs(factor);
      if (top < kLeast) continue;  // zeros
      const BFloat16 scale = bf16_above(top / 127.0f);
      store(strip + r % kStrip * 2, scale.bits);
      const float* row = b + r * rank_;
      const float unit = to_float(scale);
      int8_t codes[kMostRank + 1];
      for (int64_t k = 0; k < rank_; ++k)
        codes[k] = static_cast<int8_t>(static_cast<int>(nearest(row[k] * factor / unit)));
      codes[rank_] = 0;
      for (int64_t p = 0; p < pairs(); ++p)
        std::memcpy(strip + 2 * kStrip + 2 * (p * kStrip + r % kStrip), codes + 2 * p, 2);
    }
  });
}

Int8Matrix LowRankCopy::inner(float* h) const {
  return {kernels_, memory(), stride_, rank_, h, nullptr};
}

void LowRankCopy::fetch_inner() const {
  fetch_lines(memory(), rank_ * stride_);
}

void LowRankCopy::fetch(int64_t begin, int64_t end) const {
  fetch_lines(strip_of(begin), (end - begin + kStrip - 1) / kStrip * strip_bytes());
}

void LowRankCopy::add_to_scalar(const InnerRows& h, float* y, int64_t begin, int64_t end) const {
  for (int64_t r = begin; r < end; ++r) {
    const std::byte* strip = strip_of(r);
    const float scale = to_float(BFloat16{load<uint16_t>(strip + r % kStrip * 2)});
    for (int64_t i = 0; i < h.count; ++i) {
      int32_t sum = 0;
      for (int64_t p = 0; p < h.pairs; ++p) {
        const std::byte* codes = strip + 2 * kStrip + 2 * (p * kStrip + r % kStrip);
        const int32_t both = h.codes[i * h.pairs + p];
        sum += load<int8_t>(codes) * static_cast<int16_t>(both & 0xFFFF) +
               load<int8_t>(codes + 1) * (both >> 16);
      }
      float& to = y[i * rows_ + r];
      to = std::fma(scale * h.scales[i], static_cast<float>(sum), to);
    }
  }
}

void LowRankCopy::add_to(const InnerRows& h, float* y, int64_t begin, int64_t end) const {
#ifndef MOXIE_SCALAR_ONLY
  if (active_isa() >= Isa::kAvx2) {
    using Tiles = std::span<const RowsAtOnce>;
    const Tiles tiles = has_avx512_vnni() ? Tiles(kTilesAvx512) : Tiles(kTilesAvx2);
    for (int64_t r = begin; r < end; r += kStrip) {
      int64_t i = 0;
      for (const RowsAtOnce& tile : tiles) {
        for (; i + tile.rows <= h.count; i += tile.rows)
          tile.add(strip_of(r), h, i, y + r, rows_, std::min(kStrip, end - r));
      }
    }
    return;
  }
#endif
  add_to_scalar(h, y, begin, end);
}

}  // namespace moxie::quant
