#include "quant/low_rank.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/cpu.h"
#include "base/threads.h"
#include "quant/codec.h"
#include "quant/format.h"
#include "tensor/dtype.h"

namespace moxie::quant {
namespace {

constexpr int64_t kStrip = LowRankCopy::kStrip;
constexpr float kLeast = 0x1.0p-111f;  // below, 32767 / max could overflow

float largest(const float* x, int64_t n) {  // NaN where one is not finite
  float most = 0;
  float poison = 0;
  for (int64_t i = 0; i < n; ++i) {
    most = std::max(most, std::fabs(x[i]));
    poison += 0 * x[i];
  }
  return most + poison;
}

// The least bf16 that is no smaller than a positive x.
BFloat16 bf16_above(float x) {
  return {static_cast<uint16_t>((std::bit_cast<uint32_t>(x) + 0xFFFF) >> 16)};
}

// The scale of a row of h with the largest magnitude `most`, and what its elements are multiplied
// by.
struct Steps {
  float scale, inverse;
};
Steps steps_of(float most) {
  if (!std::isfinite(most)) return {std::bit_cast<float>(0x7FC00000), 0};
  if (most < kLeast) return {0, 0};
  return {most / 32767.0f, 32767.0f / most};
}

int32_t pair_of(int32_t low, int32_t high) {
  return static_cast<int32_t>(static_cast<uint32_t>(low & 0xFFFF) | static_cast<uint32_t>(high)
                                                                        << 16);
}

int32_t code_at(const float* h, int64_t k, int64_t rank, float inverse) {
  return k < rank && inverse != 0 ? static_cast<int32_t>(std::nearbyint(h[k] * inverse)) : 0;
}

void fetch_lines(const std::byte* from, int64_t bytes) {
  for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(from + at, 0, 2);
}

#ifndef MOXIE_SCALAR_ONLY
constexpr int64_t kRowsAtOnce = 6;  // of y, whose sums the registers hold

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

[[gnu::target("avx2,fma")]] void round_row_avx2(const float* h, int64_t rank, int64_t pairs,
                                                int32_t* codes, float* scale) {
  const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7FFFFFFF));
  __m256i tops = _mm256_setzero_si256();  // as integers NaN is the largest
  int64_t whole = rank / 16 * 16;
  for (int64_t k = 0; k < whole; k += 8) {
    tops = _mm256_max_epi32(tops,
                            _mm256_castps_si256(_mm256_and_ps(_mm256_loadu_ps(h + k), magnitude)));
  }
  alignas(32) int32_t lanes[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), tops);
  int32_t top = *std::max_element(lanes, lanes + 8);
  for (int64_t k = whole; k < rank; ++k)
    top = std::max(top, std::bit_cast<int32_t>(std::fabs(h[k])));
  const Steps steps = steps_of(std::bit_cast<float>(top));
  *scale = steps.scale;
  if (steps.inverse == 0) whole = 0;
  const __m256 inverse = _mm256_set1_ps(steps.inverse);
  for (int64_t k = 0; k < whole; k += 16) {
    const __m256i low = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(h + k), inverse));
    const __m256i high = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(h + k + 8), inverse));
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xD8);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes + k / 2), packed);
  }
  for (int64_t p = whole / 2; p < pairs; ++p) {
    codes[p] =
        pair_of(code_at(h, 2 * p, rank, steps.inverse), code_at(h, 2 * p + 1, rank, steps.inverse));
  }
}
#endif

}  // namespace

void round_inner_scalar(const float* h, int64_t rank, const InnerRows& out, int64_t begin,
                        int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const float* row = h + i * rank;
    const Steps steps = steps_of(largest(row, rank));
    out.scales[i] = steps.scale;
    for (int64_t p = 0; p < out.pairs; ++p) {
      out.codes[i * out.pairs + p] = pair_of(code_at(row, 2 * p, rank, steps.inverse),
                                             code_at(row, 2 * p + 1, rank, steps.inverse));
    }
  }
}

void round_inner(const float* h, int64_t rank, const InnerRows& out, int64_t begin, int64_t end) {
#ifndef MOXIE_SCALAR_ONLY
  if (active_isa() >= Isa::kAvx2) {
    for (int64_t i = begin; i < end; ++i) {
      round_row_avx2(h + i * rank, rank, out.pairs, out.codes + i * out.pairs, out.scales + i);
    }
    return;
  }
#endif
  round_inner_scalar(h, rank, out, begin, end);
}

LowRankCopy::LowRankCopy(int64_t rank, int64_t cols, int64_t rows)
    : rank_(rank), cols_(cols), rows_(rows) {
  const QuantFormat& format = *require_row(formats(), "format", "q8_0").entry;
  kernels_ = format.int8;
  stride_ = row_bytes(format, cols);
  strips_at_ = (rank * stride_ + kStrip - 1) / kStrip * kStrip;
  memory_.resize(static_cast<size_t>(strips_at_ + (rows + kStrip - 1) / kStrip * strip_bytes()));
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
  copy->keep_a(a, unit);
  copy->keep_b(b, factor);
  return copy;
}

void LowRankCopy::keep_a(const float* a, float unit) {
  const QuantFormat& format = *require_row(formats(), "format", "q8_0").entry;
  parallel_for(rank_, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> scaled(static_cast<size_t>(cols_));
    for (int64_t k = begin; k < end; ++k) {
      std::transform(a + k * cols_, a + (k + 1) * cols_, scaled.begin(),
                     [unit](float x) { return x / unit; });
      format.encode(scaled.data(), memory_.data() + k * stride_, cols_);
    }
  });
}

void LowRankCopy::keep_b(const float* b, float factor) {
  parallel_for(rows_, 64, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      std::byte* strip = memory_.data() + strips_at_ + r / kStrip * strip_bytes();
      const float top = largest(b + r * rank_, rank_) * std::fabs(factor);
      if (top < kLeast) continue;  // zeros
      const BFloat16 scale = bf16_above(top / 127.0f);
      store(strip + r % kStrip * 2, scale.bits);
      for (int64_t k = 0; k < rank_; ++k) {
        const auto code =
            static_cast<int8_t>(std::nearbyint(b[r * rank_ + k] * factor / to_float(scale)));
        store(strip + 2 * kStrip + 2 * (k / 2 * kStrip + r % kStrip) + k % 2, code);
      }
    }
  });
}

Int8Matrix LowRankCopy::inner(float* h) const {
  return {kernels_, memory_.data(), stride_, rank_, h, nullptr};
}

void LowRankCopy::fetch_inner() const {
  fetch_lines(memory_.data(), rank_ * stride_);
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
    for (int64_t r = begin; r < end; r += kStrip) {
      const std::byte* strip = strip_of(r);
      const int64_t width = std::min(kStrip, end - r);
      int64_t i = 0;
      for (; i + kRowsAtOnce <= h.count; i += kRowsAtOnce)
        add_tile<kRowsAtOnce>(strip, h, i, y + r, rows_, width);
      for (; i < h.count; ++i) add_tile<1>(strip, h, i, y + r, rows_, width);
    }
    return;
  }
#endif
  add_to_scalar(h, y, begin, end);
}

}  // namespace moxie::quant
