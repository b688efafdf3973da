#pragma once
// The int8 products of a format, written once and compiled for each instruction set. A codec takes
// part by stating, besides its block (codec.h),
//   kBits        bits of a code, 4, 5, 6 or 8, as codes() gives them: 0 .. 2^kBits - 1
//   kOffset      what is taken off a code
//   kScaleAt     where the block's f16 scale stands
//   kMinima      none, one f16 after the scale for a block, or one a group (6 bits, k_blocks.h)
//   kMultipliers none, one a group (k_blocks.h), or one each 16 elements (int8, at kMultipliersAt)
//   kNibblesAt   if all of the block are 16 bytes of 4-bit codes, low ones first: where they stand
//   kFifthsAt    if 32 fifth bits stand before such bytes instead: where they do
//   codes(block, group, out) and codes_avx2(block, group): the codes of 32 elements, in order.
// int8.h says what the products are.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "base/cpu.h"
#include "quant/codec.h"
#include "quant/int8.h"
#include "quant/int8_amx.h"
#include "quant/int8_dots.h"
#include "quant/int8_panels_avx512.h"
#include "quant/int8_sixteens.h"
#include "quant/k_blocks.h"

#ifndef MOXIE_SCALAR_ONLY
#define MOXIE_INT8_ISA avx2
#define MOXIE_INT8_TARGET "avx2,fma,f16c"
#include "quant/int8_panels_impl.h"

#define MOXIE_INT8_ISA avx_vnni
#define MOXIE_INT8_TARGET "avx2,fma,f16c,avxvnni"
#define MOXIE_INT8_DOT _mm256_dpbusd_avx_epi32
#include "quant/int8_panels_impl.h"

#define MOXIE_INT8_ISA avx512_vnni
#define MOXIE_INT8_TARGET "avx2,fma,f16c,avx512f,avx512vl,avx512vnni"
#define MOXIE_INT8_DOT _mm256_dpbusd_epi32
#include "quant/int8_panels_impl.h"
#endif

namespace moxie::quant {

template <class F>
int64_t multiplier_of([[maybe_unused]] const std::byte* block, [[maybe_unused]] int group,
                      [[maybe_unused]] int half) {
  if constexpr (F::kMultipliers == Multipliers::kGroup) {
    return scale_minimum(block + F::kMultipliersAt, group).scale;
  } else if constexpr (F::kMultipliers == Multipliers::kHalf) {
    return load<int8_t>(block + F::kMultipliersAt + 2 * group + half);
  }
  return 1;
}

template <class F>
float minimum_of(const std::byte* block, [[maybe_unused]] int group) {
  const float minimum = load_half(block + F::kScaleAt + 2);
  if constexpr (F::kMinima == Minima::kBlock) {
    return minimum;
  } else {
    const int times = scale_minimum(block + F::kMultipliersAt, group).minimum;
    return -(minimum * static_cast<float>(times));
  }
}

// The reference: one row of the weight, one row of x.
template <class F>
float dot_scalar(const std::byte* row, const Int8Rows& x, int64_t i) {
  constexpr int kGroups = F::kBlock / kInt8Group;
  float acc = 0;
  for (int64_t g = 0; g < x.groups(); ++g) {
    const std::byte* block = row + g / kGroups * F::kBytes;
    const int group = static_cast<int>(g % kGroups);
    const int64_t at = i * x.groups() + g;
    uint8_t codes[kInt8Group];
    F::codes(block, group, codes);
    int64_t sum = 0;
    for (int half = 0; half < 2; ++half) {
      int64_t part = 0;
      for (int e = 16 * half; e < 16 * half + 16; ++e) {
        part += (codes[e] - F::kOffset) * x.codes[at * kInt8Group + e];
      }
      sum += part * multiplier_of<F>(block, group, half);
    }
    const float scale = load_half(block + F::kScaleAt) * x.scales[at];
    acc = std::fma(scale, static_cast<float>(sum), acc);
    if constexpr (F::kMinima != Minima::kNone) {
      acc = std::fma(minimum_of<F>(block, group), x.sums[at], acc);
    }
  }
  return acc;
}

template <class F>
void dots_scalar(const Int8Product& p, int64_t begin, int64_t end) {
  for (int64_t r = begin; r < end; ++r) {
    for (int64_t i = 0; i < p.x.count; ++i) {
      float& y = p.y[i * p.ld + r];
      y = (p.accumulate ? y : 0.0f) + dot_scalar<F>(p.weight + r * p.stride, p.x, i);
    }
  }
}

template <class F>
int64_t many() {
#ifndef MOXIE_SCALAR_ONLY
  if (amx_int8_is_active()) return kTakesSixteens<F> ? 6 : 3;
#endif
  return kTakesSixteens<F> && has_avx512_vnni() ? 8 : 4;
}

template <class F>
void dots(const Int8Product& p, int64_t begin, int64_t end) {
#ifndef MOXIE_SCALAR_ONLY
  if constexpr (kTakesSixteens<F>) {
    if (has_avx512_vnni()) begin = dots_avx512<F>(p, begin, end);
  }
  if (active_isa() >= Isa::kAvx2) return dots_avx2<F>(p, begin, end);
#endif
  dots_scalar<F>(p, begin, end);
}

template <class F>
void panels(const Int8Product& p, int64_t begin, int64_t end) {
#ifndef MOXIE_SCALAR_ONLY
  if (has_avx512_vnni()) {
    if (amx_int8_is_active()) {
      begin = panels_amx<F>(p, begin, end);
    } else if constexpr (F::kMultipliers != Multipliers::kHalf) {
      begin = panels_avx512<F>(p, begin, end);
    }
    if (begin < end) avx512_vnni::panels<F>(p, begin, end);
    return;
  }
  if (active_isa() >= Isa::kAvx2 && cpu().avx_vnni) return avx_vnni::panels<F>(p, begin, end);
  if (active_isa() >= Isa::kAvx2) return avx2::panels<F>(p, begin, end);
#endif
  dots_scalar<F>(p, begin, end);
}

template <class F>
void pack_scalar(const std::byte* rows, int64_t stride, int64_t lines, int64_t begin, int64_t end,
                 kernels::Int8TileB* tiles) {
  constexpr int kGroups = F::kBlock / kInt8Group;
  for (int64_t g = begin; g < end; ++g, tiles += 2) {
    for (int64_t line = 0; line < kernels::kLines; ++line) {
      const std::byte* block = rows + (line < lines ? line : 0) * stride + g / kGroups * F::kBytes;
      const int group = static_cast<int>(g % kGroups);
      uint8_t codes[kInt8Group];
      F::codes(block, group, codes);
      for (int e = 0; e < kInt8Group; ++e)
        tiles->codes[e / 4][line][e % 4] = static_cast<uint8_t>(codes[e] - F::kOffset + 128);
      tiles->scales[line] =
          load_half(block + F::kScaleAt) * static_cast<float>(multiplier_of<F>(block, group, 0));
      if constexpr (F::kMinima != Minima::kNone) tiles->minima[line] = minimum_of<F>(block, group);
    }
    tiles->ends_block = 1;
    tiles->has_minima = F::kMinima != Minima::kNone ? 1 : 0;
    tiles->is_half = 0;
  }
}

template <class F>
void pack(const std::byte* rows, int64_t stride, int64_t lines, int64_t begin, int64_t end,
          kernels::Int8TileB* tiles) {
#ifndef MOXIE_SCALAR_ONLY
  if (has_avx512_vnni() && lines == kernels::kLines)
    return pack_avx512<F>(rows, stride, begin, end, tiles);
#endif
  pack_scalar<F>(rows, stride, lines, begin, end, tiles);
}

template <class F>
constexpr Int8Kernels int8_kernels() {
  Int8Kernels kernels{dots<F>, panels<F>, dots_scalar<F>, nullptr, nullptr, many<F>};
  if constexpr (F::kMultipliers != Multipliers::kHalf) {
    kernels.pack = pack<F>;
    kernels.pack_scalar = pack_scalar<F>;
  }
  return kernels;
}
template <class F>
inline constexpr Int8Kernels kInt8KernelsOf = int8_kernels<F>();

}  // namespace moxie::quant
