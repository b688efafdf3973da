#include "quant/codec.h"
#include "quant/codec_bf16.h"
#include "quant/format.h"
#include "quant/int8_kernels.h"
#include "quant/k_blocks.h"

// As q4_k, with 32 bytes of fifth bits before the nibbles: that of group g is bit g of byte l.
namespace moxie::quant {
namespace {

struct Q5_K {
  static constexpr int kBlock = 256;
  static constexpr int kBytes = 176;
  [[gnu::always_inline]] static void decode_block(const std::byte* __restrict src,
                                                  float* __restrict dst) {
    const float d = load_half(src);
    const float dmin = load_half(src + 2);
    const auto* fifths = reinterpret_cast<const uint8_t*>(src + 16);
    const auto* q = reinterpret_cast<const uint8_t*>(src + 48);
    for (int group = 0; group < 8; ++group) {
      const ScaleMinimum s = scale_minimum(src + 4, group);
      const float scale = d * static_cast<float>(s.scale);
      const float minimum = dmin * static_cast<float>(s.minimum);
      const uint8_t* codes = q + group / 2 * 32;
      const int shift = group % 2 * 4;
      for (int i = 0; i < 32; ++i) {
        const int code = (codes[i] >> shift & 15) | (fifths[i] >> group & 1) << 4;
        dst[group * 32 + i] = scale * static_cast<float>(code) - minimum;
      }
    }
  }

  static constexpr int kBits = 5, kOffset = 0, kScaleAt = 0;
  static constexpr Minima kMinima = Minima::kGroup;
  static constexpr Multipliers kMultipliers = Multipliers::kGroup;
  static constexpr int kMultipliersAt = 4;
  [[gnu::always_inline]] static void codes(const std::byte* src, int group, uint8_t* out) {
    const auto* fifths = reinterpret_cast<const uint8_t*>(src + 16);
    const auto* q = reinterpret_cast<const uint8_t*>(src + 48 + group / 2 * 32);
    for (int i = 0; i < 32; ++i) {
      out[i] = static_cast<uint8_t>((q[i] >> (group % 2 * 4) & 15) | (fifths[i] >> group & 1) << 4);
    }
  }
#ifndef MOXIE_SCALAR_ONLY
  MOXIE_AVX2 static __m256i codes_avx2(const std::byte* src, int group) {
    const __m256i q = avx2::bytes32(src + 48 + group / 2 * 32);
    const __m256i moved = group % 2 != 0 ? _mm256_srli_epi16(q, 4) : q;
    const __m256i fifths = _mm256_srl_epi16(avx2::bytes32(src + 16), _mm_cvtsi32_si128(group));
    const __m256i fifth = _mm256_and_si256(fifths, _mm256_set1_epi8(1));
    return _mm256_or_si256(_mm256_and_si256(moved, _mm256_set1_epi8(15)),
                           _mm256_slli_epi16(fifth, 4));
  }
#endif
};

}  // namespace

extern const QuantFormat q5_k_entry;
const QuantFormat q5_k_entry{.summary = "5 bits, scales and minima per 32 within 256",
                             .block = Q5_K::kBlock,
                             .bytes = Q5_K::kBytes,
                             .gguf_type = 13,
                             .max_rmse = 0,
                             .is_writable = false,
                             .decode = decode<Q5_K>,
                             .encode = nullptr,
                             .int8 = &kInt8KernelsOf<Q5_K>,
                             .bf16 = kBF16Of<Q5_K>};

}  // namespace moxie::quant
