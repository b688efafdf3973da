#include <algorithm>
#include <cstring>

#include "quant/codec.h"
#include "quant/codec_bf16.h"
#include "quant/format.h"
#include "quant/int8_kernels.h"
#include "quant/k_blocks.h"
#include "tensor/dtype.h"

// 256 elements in 8 groups: f16 d and dmin, 12 bytes with a 6-bit scale and minimum a group
// (k_blocks.h), 128 bytes of nibbles: bytes 32 p .. 32 p + 31 hold group 2 p low, 2 p + 1 high.
// x = d * scale * code - dmin * minimum.
namespace moxie::quant {
namespace {

struct Q4_K {
  static constexpr int kBlock = 256;
  static constexpr int kBytes = 144;
  [[gnu::always_inline]] static void decode_block(const std::byte* __restrict src,
                                                  float* __restrict dst) {
    const float d = load_half(src);
    const float dmin = load_half(src + 2);
    const auto* q = reinterpret_cast<const uint8_t*>(src + 16);
    for (int group = 0; group < 8; ++group) {
      const ScaleMinimum s = scale_minimum(src + 4, group);
      const float scale = d * static_cast<float>(s.scale);
      const float minimum = dmin * static_cast<float>(s.minimum);
      const uint8_t* codes = q + group / 2 * 32;
      const int shift = group % 2 * 4;
      for (int i = 0; i < 32; ++i) {
        dst[group * 32 + i] = scale * static_cast<float>(codes[i] >> shift & 15) - minimum;
      }
    }
  }
#ifndef MOXIE_SCALAR_ONLY
  MOXIE_AVX2 static void decode_block_avx2(const std::byte* src, float* dst) {
    const __m256 d = avx2::half(src);
    const __m256 dmin = avx2::half(src + 2);
    for (int group = 0; group < 8; ++group) {
      const ScaleMinimum s = scale_minimum(src + 4, group);
      const __m256 scale = avx2::times(d, s.scale);
      const __m256 minimum = avx2::times(dmin, s.minimum);
      // Adding -minimum rounds as subtracting does.
      avx2::affine32(codes_avx2(src, group), scale, _mm256_xor_ps(minimum, _mm256_set1_ps(-0.0f)),
                     dst + 32 * group);
    }
  }
#endif

  static constexpr int kBits = 4, kOffset = 0, kScaleAt = 0;
  static constexpr Minima kMinima = Minima::kGroup;
  static constexpr Multipliers kMultipliers = Multipliers::kGroup;
  static constexpr int kMultipliersAt = 4;
  [[gnu::always_inline]] static void codes(const std::byte* src, int group, uint8_t* out) {
    const auto* q = reinterpret_cast<const uint8_t*>(src + 16 + group / 2 * 32);
    for (int i = 0; i < 32; ++i) out[i] = q[i] >> (group % 2 * 4) & 15;
  }
#ifndef MOXIE_SCALAR_ONLY
  MOXIE_AVX2 static __m256i codes_avx2(const std::byte* src, int group) {
    const __m256i q = avx2::bytes32(src + 16 + group / 2 * 32);
    const __m256i moved = group % 2 != 0 ? _mm256_srli_epi16(q, 4) : q;
    return _mm256_and_si256(moved, _mm256_set1_epi8(15));
  }
#endif
};

void encode(const float* src, std::byte* dst, int64_t n) noexcept {
  for (int64_t b = 0; b < n / 256; ++b, src += 256, dst += Q4_K::kBytes) {
    Affine fits[8];
    float scale = 0;
    float minimum = 0;
    for (int group = 0; group < 8; ++group) {
      fits[group] = fit_affine(src + 32 * group, 32, 15);
      scale = std::max(scale, fits[group].scale);
      minimum = std::max(minimum, fits[group].minimum);
    }
    const uint16_t d = to_float16(scale / 63.0f).bits;
    const uint16_t dmin = to_float16(minimum / 63.0f).bits;
    store(dst, d);
    store(dst + 2, dmin);
    std::memset(dst + 4, 0, 140);
    for (int group = 0; group < 8; ++group) {
      const ScaleMinimum s{code_of(ratio(fits[group].scale, half_to_float(d)) + 0.5f, 63),
                           code_of(ratio(fits[group].minimum, half_to_float(dmin)) + 0.5f, 63)};
      set_scale_minimum(dst + 4, group, s);
      const float step = half_to_float(d) * static_cast<float>(s.scale);
      const float low = half_to_float(dmin) * static_cast<float>(s.minimum);
      for (int i = 0; i < 32; ++i) {
        const int code = code_of(ratio(src[32 * group + i] + low, step) + 0.5f, 15);
        dst[16 + group / 2 * 32 + i] |= static_cast<std::byte>(code << (group % 2 * 4));
      }
    }
  }
}

}  // namespace

extern const QuantFormat q4_k_entry;
const QuantFormat q4_k_entry{.summary = "4 bits, scales and minima per 32 within 256",
                             .block = Q4_K::kBlock,
                             .bytes = Q4_K::kBytes,
                             .gguf_type = 12,
                             .max_rmse = 0.075,
                             .is_writable = true,
                             .decode = decode<Q4_K>,
                             .encode = encode,
                             .int8 = &kInt8KernelsOf<Q4_K>,
                             .bf16 = kBF16Of<Q4_K>};

}  // namespace moxie::quant
