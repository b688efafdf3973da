#include <cstring>

#include "quant/codec.h"
#include "quant/codec_bf16.h"
#include "quant/format.h"
#include "quant/int8_kernels.h"
#include "quant/k_blocks.h"
#include "tensor/dtype.h"

// 256 elements in 16 groups: 128 bytes of low nibbles, 64 bytes of high bit pairs, a signed 8-bit
// scale a group, f16 d; x = d * scale * (code - 32). Element 128 h + 32 j + l has its nibble in
// byte 64 h + 32 (j % 2) + l, low for j < 2, and its high bits at 2 j of byte 32 h + l.
namespace moxie::quant {
namespace {

struct Q6_K {
  static constexpr int kBlock = 256;
  static constexpr int kBytes = 210;
  [[gnu::always_inline]] static void decode_block(const std::byte* __restrict src,
                                                  float* __restrict dst) {
    const auto* low = reinterpret_cast<const uint8_t*>(src);
    const auto* high = reinterpret_cast<const uint8_t*>(src + 128);
    const auto* scales = reinterpret_cast<const int8_t*>(src + 192);
    const float d = load_half(src + 208);
    for (int part = 0; part < 8; ++part) {  // 4 h + j
      const uint8_t* nibbles = low + part / 4 * 64 + part % 2 * 32;
      const uint8_t* pairs = high + part / 4 * 32;
      const int shift = part % 4;
      for (int i = 0; i < 32; ++i) {
        const int half = i / 16;
        const float scale = d * static_cast<float>(scales[2 * part + half]);
        const int code = (nibbles[i] >> (shift / 2 * 4) & 15) | (pairs[i] >> (2 * shift) & 3) << 4;
        dst[32 * part + i] = scale * static_cast<float>(code - 32);
      }
    }
  }
#ifndef MOXIE_SCALAR_ONLY
  MOXIE_AVX2 static void decode_block_avx2(const std::byte* src, float* dst) {
    const auto* scales = reinterpret_cast<const int8_t*>(src + 192);
    const __m256 d = avx2::half(src + 208);
    for (int part = 0; part < 8; ++part) {
      const __m256i code = _mm256_sub_epi8(codes_avx2(src, part), _mm256_set1_epi8(32));
      avx2::scaled16(_mm256_castsi256_si128(code), avx2::times(d, scales[2 * part]),
                     dst + 32 * part);
      avx2::scaled16(_mm256_extracti128_si256(code, 1), avx2::times(d, scales[2 * part + 1]),
                     dst + 32 * part + 16);
    }
  }
#endif

  static constexpr int kBits = 6, kOffset = 32, kScaleAt = 208;
  static constexpr Minima kMinima = Minima::kNone;
  static constexpr Multipliers kMultipliers = Multipliers::kHalf;
  static constexpr int kMultipliersAt = 192;
  [[gnu::always_inline]] static void codes(const std::byte* src, int group, uint8_t* out) {
    const auto* nibbles = reinterpret_cast<const uint8_t*>(src + group / 4 * 64 + group % 2 * 32);
    const auto* pairs = reinterpret_cast<const uint8_t*>(src + 128 + group / 4 * 32);
    const int shift = group % 4;
    for (int i = 0; i < 32; ++i) {
      const int low = nibbles[i] >> (shift / 2 * 4) & 15;
      out[i] = static_cast<uint8_t>(low | (pairs[i] >> (2 * shift) & 3) << 4);
    }
  }
#ifndef MOXIE_SCALAR_ONLY
  MOXIE_AVX2 static __m256i codes_avx2(const std::byte* src, int group) {
    const __m256i nibbles = avx2::bytes32(src + group / 4 * 64 + group % 2 * 32);
    const __m256i pairs = avx2::bytes32(src + 128 + group / 4 * 32);
    const int shift = group % 4;
    const __m256i low =
        _mm256_and_si256(shift < 2 ? nibbles : _mm256_srli_epi16(nibbles, 4), _mm256_set1_epi8(15));
    const __m256i moved =  // the wanted two bits, now bits 4 and 5 of each byte
        shift < 2 ? _mm256_slli_epi16(pairs, 4 - 2 * shift)
                  : _mm256_srli_epi16(pairs, 2 * shift - 4);
    return _mm256_or_si256(low, _mm256_and_si256(moved, _mm256_set1_epi8(0x30)));
  }
#endif
};

void encode(const float* src, std::byte* dst, int64_t n) noexcept {
  for (int64_t b = 0; b < n / 256; ++b, src += 256, dst += Q6_K::kBytes) {
    float fits[16];
    for (int group = 0; group < 16; ++group) fits[group] = fit_scale(src + 16 * group, 16, 32);
    // The scale of largest magnitude becomes -128, the end of the range that reaches further.
    const uint16_t d = to_float16(extreme(fits, 16) / -128.0f).bits;
    std::memset(dst, 0, 192);
    store(dst + 208, d);
    for (int group = 0; group < 16; ++group) {
      const int scale = code_of(ratio(fits[group], half_to_float(d)) + 128.5f, 255) - 128;
      store(dst + 192 + group, static_cast<int8_t>(scale));
      const float step = half_to_float(d) * static_cast<float>(scale);
      const int part = group / 2;
      const int shift = part % 4;
      for (int i = 0; i < 16; ++i) {
        const int code = code_of(ratio(src[16 * group + i], step) + 32.5f, 63);
        const int l = group % 2 * 16 + i;
        dst[part / 4 * 64 + part % 2 * 32 + l] |=
            static_cast<std::byte>((code & 15) << (shift / 2 * 4));
        dst[128 + part / 4 * 32 + l] |= static_cast<std::byte>((code >> 4) << (2 * shift));
      }
    }
  }
}

}  // namespace

extern const QuantFormat q6_k_entry;
const QuantFormat q6_k_entry{.summary = "6 bits, scales per 16 within 256",
                             .block = Q6_K::kBlock,
                             .bytes = Q6_K::kBytes,
                             .gguf_type = 14,
                             .max_rmse = 0.018,
                             .is_writable = true,
                             .decode = decode<Q6_K>,
                             .encode = encode,
                             .int8 = &kInt8KernelsOf<Q6_K>,
                             .bf16 = kBF16Of<Q6_K>};

}  // namespace moxie::quant
