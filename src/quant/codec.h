#pragma once
// How a format's file says its decoder once and gets it compiled for each instruction set.
// A codec is a struct with kBlock (elements), kBytes and
//   [[gnu::always_inline]] static void decode_block(const std::byte* __restrict src, float*
//   __restrict dst);
// plain code without intrinsics. decode<Codec> runs it over a row: where the CPU has AVX2 and
// MOXIE_ISA allows, vectorised by the compiler, or as decode_block_avx2 (codec_avx2.h) if the codec
// has one; decode_scalar<Codec> is the reference. All give the same bits: the folder is compiled
// with -ffp-contract=off.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/cpu.h"
#include "quant/codec_avx2.h"

namespace moxie::quant {

// Half precision to f32 without branches, so that loops over it vectorise. Exact; NaN stays NaN.
[[gnu::always_inline]] inline float half_to_float(uint16_t half) {
  const uint32_t magnitude = uint32_t{half & 0x7FFFu} << 13;
  float scaled;
  std::memcpy(&scaled, &magnitude, 4);
  scaled *= 0x1.0p+112f;  // moves the exponent's bias, and normalises subnormals
  uint32_t bits;
  std::memcpy(&bits, &scaled, 4);
  bits |= magnitude >= 0x0F800000u ? 0x7F800000u : 0u;  // infinity and NaN
  bits |= uint32_t{half & 0x8000u} << 16;
  float out;
  std::memcpy(&out, &bits, 4);
  return out;
}

template <class T>
[[gnu::always_inline]] inline T load(const std::byte* src) {
  T value;
  std::memcpy(&value, src, sizeof(T));
  return value;
}

template <class T>
void store(std::byte* dst, T value) {
  std::memcpy(dst, &value, sizeof(T));
}

[[gnu::always_inline]] inline float load_half(const std::byte* src) {
  return half_to_float(load<uint16_t>(src));
}

// What encoders share. The element of largest magnitude, the first of equals:
inline float extreme(const float* x, int n) {
  float most = 0;
  for (int i = 0; i < n; ++i) {
    if (std::fabs(x[i]) > std::fabs(most)) most = x[i];
  }
  return most;
}
// Truncated and held to 0..most; NaN becomes 0.
inline int code_of(float x, int most) {
  if (!(x > 0)) return 0;
  return x < static_cast<float>(most) ? static_cast<int>(x) : most;
}
inline float ratio(float x, float unit) {
  return unit != 0 ? x / unit : 0;
}

template <class Codec>
void decode_scalar(const std::byte* __restrict src, float* __restrict dst, int64_t n) noexcept {
  for (int64_t b = 0; b < n / Codec::kBlock; ++b) {
    Codec::decode_block(src + b * Codec::kBytes, dst + b * Codec::kBlock);
  }
}

#ifndef MOXIE_SCALAR_ONLY
template <class Codec>
[[gnu::target("avx2,f16c")]] void decode_avx2(const std::byte* __restrict src,
                                              float* __restrict dst, int64_t n) noexcept {
  for (int64_t b = 0; b < n / Codec::kBlock; ++b) {
    if constexpr (requires { &Codec::decode_block_avx2; }) {
      Codec::decode_block_avx2(src + b * Codec::kBytes, dst + b * Codec::kBlock);
    } else {
      Codec::decode_block(src + b * Codec::kBytes, dst + b * Codec::kBlock);
    }
  }
}
#endif

template <class Codec>
void decode(const std::byte* src, float* dst, int64_t n) noexcept {
#ifndef MOXIE_SCALAR_ONLY
  if (active_isa() >= Isa::kAvx2) return decode_avx2<Codec>(src, dst, n);
#endif
  decode_scalar<Codec>(src, dst, n);
}

}  // namespace moxie::quant
