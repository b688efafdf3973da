// Rounding of activations to 8 bits, and the split of int8 products over threads: by rows of the
// weight, which neither changes nor orders any sum.
#include <algorithm>
#include <bit>
#include <cmath>

#include "base/cpu.h"
#include "base/threads.h"
#include "kernels/scratch.h"
#include "quant/codec_avx2.h"
#include "quant/int8.h"
#include "quant/weight.h"

namespace moxie::quant {
namespace {

constexpr int64_t kStrip = 16;             // rows of a weight that panels take at once
constexpr int64_t kManyRows = 4;           // of x, from which panels are the faster way
constexpr int64_t kSmallWork = 64 * 1024;  // multiply-adds that one thread does sooner than two
constexpr int64_t kSmallRows = 16 * 1024;  // activations likewise
constexpr int32_t kInfinity = 0x7F800000;
constexpr int32_t kTiny = 0x04000000;  // 2^-119: below, 127 / max could overflow

// The scale of a group from the bits of its largest magnitude, and what its elements are
// multiplied by.
struct Steps {
  float scale, inverse;
};
Steps steps_of(int32_t magnitude) {
  if (magnitude >= kInfinity) return {std::bit_cast<float>(0x7FC00000), 0};
  if (magnitude < kTiny) return {0, 0};
  const auto most = std::bit_cast<float>(magnitude);
  return {most / 127.0f, 127.0f / most};
}

int64_t strips_of(const Int8Matrix& matrix) {
  return (matrix.rows + kStrip - 1) / kStrip;
}

void finish_group(const Int8Rows& out, int64_t group, float scale, int32_t low, int32_t high) {
  out.scales[group] = scale;
  out.sums[group] = scale * static_cast<float>(low + high);
  out.halves[group] =
      static_cast<int32_t>(static_cast<uint32_t>(low & 0xFFFF) | static_cast<uint32_t>(high) << 16);
}

void quantise_group(const float* x, const Int8Rows& out, int64_t group) {
  int32_t magnitude = 0;
  for (int i = 0; i < kInt8Group; ++i) {
    magnitude = std::max(magnitude, std::bit_cast<int32_t>(x[i]) & 0x7FFFFFFF);
  }
  const Steps steps = steps_of(magnitude);
  int8_t* codes = out.codes + group * kInt8Group;
  int32_t totals[2] = {0, 0};
  for (int i = 0; i < kInt8Group; ++i) {
    const int32_t code =
        steps.inverse == 0 ? 0 : static_cast<int32_t>(std::nearbyint(x[i] * steps.inverse));
    codes[i] = static_cast<int8_t>(code);
    totals[i / 16] += code;
  }
  finish_group(out, group, steps.scale, totals[0], totals[1]);
}

#ifndef MOXIE_SCALAR_ONLY
MOXIE_AVX2 int32_t total(__m128i v) {
  v = _mm_add_epi32(v, _mm_shuffle_epi32(v, 0x4E));
  v = _mm_add_epi32(v, _mm_shuffle_epi32(v, 0xB1));
  return _mm_cvtsi128_si32(v);
}

[[gnu::target("avx2,f16c")]] void quantise_group_avx2(const float* x, const Int8Rows& out,
                                                      int64_t group) {
  const __m256i magnitude_bits = _mm256_set1_epi32(0x7FFFFFFF);
  __m256 values[4];
  __m256i most = _mm256_setzero_si256();
  for (int i = 0; i < 4; ++i) {
    values[i] = _mm256_loadu_ps(x + 8 * i);
    most = _mm256_max_epi32(most, _mm256_and_si256(_mm256_castps_si256(values[i]), magnitude_bits));
  }
  __m128i top = _mm_max_epi32(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
  top = _mm_max_epi32(top, _mm_shuffle_epi32(top, 0x4E));
  top = _mm_max_epi32(top, _mm_shuffle_epi32(top, 0xB1));
  const Steps steps = steps_of(_mm_cvtsi128_si32(top));
  int8_t* codes = out.codes + group * kInt8Group;
  if (steps.inverse == 0) {
    std::fill_n(codes, kInt8Group, int8_t{0});
    return finish_group(out, group, steps.scale, 0, 0);
  }
  const __m256 inverse = _mm256_set1_ps(steps.inverse);
  __m256i rounded[4];
  for (int i = 0; i < 4; ++i) rounded[i] = _mm256_cvtps_epi32(_mm256_mul_ps(values[i], inverse));
  // Packing works within 128-bit lanes; the permutation puts the words of 4 codes back in order.
  const __m256i packed = _mm256_packs_epi16(_mm256_packs_epi32(rounded[0], rounded[1]),
                                            _mm256_packs_epi32(rounded[2], rounded[3]));
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  const __m256i all = _mm256_permutevar8x32_epi32(packed, order);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes), all);
  const __m256i fours =
      _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), all), _mm256_set1_epi16(1));
  finish_group(out, group, steps.scale, total(_mm256_castsi256_si128(fours)),
               total(_mm256_extracti128_si256(fours, 1)));
}
#endif

}  // namespace

void quantise_rows_scalar(const float* x, const Int8Rows& out, int64_t begin, int64_t end) {
  for (int64_t g = begin * out.groups(); g < end * out.groups(); ++g) {
    quantise_group(x + g * kInt8Group, out, g);
  }
}

void quantise_rows(const float* x, const Int8Rows& out, int64_t begin, int64_t end) {
#ifndef MOXIE_SCALAR_ONLY
  if (active_isa() >= Isa::kAvx2) {
    for (int64_t g = begin * out.groups(); g < end * out.groups(); ++g) {
      quantise_group_avx2(x + g * kInt8Group, out, g);
    }
    return;
  }
#endif
  quantise_rows_scalar(x, out, begin, end);
}

void int8_matmul(std::span<const Int8Matrix> matrices, int64_t cols, const float* x, int64_t n,
                 bool accumulate) {
  if (n == 0 || cols == 0) return;
  const int64_t groups = n * (cols / kInt8Group);
  float* memory = kernels::scratch(kernels::Scratch::kInt8Rows,
                                   static_cast<size_t>(groups * (kInt8Group / 4 + 3)));
  Int8Rows quantised{n, cols, reinterpret_cast<int8_t*>(memory), nullptr, nullptr, nullptr};
  quantised.scales = memory + groups * (kInt8Group / 4);
  quantised.sums = quantised.scales + groups;
  quantised.halves = reinterpret_cast<int32_t*>(quantised.sums + groups);
  parallel_for(n, std::max<int64_t>(1, kSmallRows / cols),
               [&](int64_t begin, int64_t end) { quantise_rows(x, quantised, begin, end); });
  int64_t all = 0;
  for (const Int8Matrix& m : matrices) all += strips_of(m);
  const int64_t grain = std::max<int64_t>(1, kSmallWork / (kStrip * cols * n));
  parallel_for(all, grain, [&](int64_t begin, int64_t end) {
    int64_t first = 0;  // strip of this matrix
    for (const Int8Matrix& m : matrices) {
      const int64_t low = std::max(begin, first) - first;
      const int64_t high = std::min(end - first, strips_of(m));
      first += strips_of(m);
      if (low >= high) continue;
      const auto run = n >= kManyRows ? m.kernels->panels : m.kernels->dots;
      const int64_t last = std::min(m.rows, high * kStrip);
      run({m.bytes, m.stride, quantised, m.y, m.rows, accumulate}, low * kStrip, last);
      if (m.term != nullptr) m.term->add_to(m.y, n, m.rows, low * kStrip, last);
    }
  });
}

}  // namespace moxie::quant
