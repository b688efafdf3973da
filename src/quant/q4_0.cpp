#include "quant/codec.h"
#include "quant/codec_bf16.h"
#include "quant/format.h"
#include "quant/int8_kernels.h"
#include "tensor/dtype.h"

// 32 elements: an f16 scale d, then 16 bytes; the low nibbles are elements 0..15, the high ones
// 16..31; x = d * (nibble - 8).
namespace moxie::quant {
namespace {

struct Q4_0 {
  static constexpr int kBlock = 32;
  static constexpr int kBytes = 18;
  [[gnu::always_inline]] static void decode_block(const std::byte* __restrict src,
                                                  float* __restrict dst) {
    const float d = load_half(src);
    const auto* q = reinterpret_cast<const uint8_t*>(src + 2);
    for (int i = 0; i < 16; ++i) dst[i] = d * static_cast<float>((q[i] & 15) - 8);
    for (int i = 0; i < 16; ++i) dst[16 + i] = d * static_cast<float>((q[i] >> 4) - 8);
  }
#ifndef MOXIE_SCALAR_ONLY
  MOXIE_AVX2 static void decode_block_avx2(const std::byte* src, float* dst) {
    const __m256i q = codes_avx2(src, 0);
    avx2::scaled32(_mm256_sub_epi8(q, _mm256_set1_epi8(8)), avx2::half(src), dst);
  }
#endif

  static constexpr int kBits = 4, kOffset = 8, kScaleAt = 0, kNibblesAt = 2;
  static constexpr Minima kMinima = Minima::kNone;
  static constexpr Multipliers kMultipliers = Multipliers::kNone;
  [[gnu::always_inline]] static void codes(const std::byte* src, int /*group*/, uint8_t* out) {
    const auto* q = reinterpret_cast<const uint8_t*>(src + 2);
    for (int i = 0; i < 16; ++i) {
      out[i] = q[i] & 15;
      out[16 + i] = q[i] >> 4;
    }
  }
#ifndef MOXIE_SCALAR_ONLY
  MOXIE_AVX2 static __m256i codes_avx2(const std::byte* src, int /*group*/) {
    return avx2::spread_nibbles(src + 2);
  }
#endif
};

void encode(const float* src, std::byte* dst, int64_t n) noexcept {
  for (int64_t b = 0; b < n / 32; ++b, src += 32, dst += Q4_0::kBytes) {
    // The element of largest magnitude gets code 0, the one end of the range that reaches 8 steps.
    const float d = extreme(src, 32) / -8.0f;
    const float inverse = d != 0 ? 1.0f / d : 0.0f;
    store(dst, to_float16(d).bits);
    for (int i = 0; i < 16; ++i) {
      const int low = code_of(src[i] * inverse + 8.5f, 15);
      const int high = code_of(src[16 + i] * inverse + 8.5f, 15);
      store(dst + 2 + i, static_cast<uint8_t>(low | high << 4));
    }
  }
}

}  // namespace

extern const QuantFormat q4_0_entry;
const QuantFormat q4_0_entry{.summary = "4 bits, a scale per 32",
                             .block = Q4_0::kBlock,
                             .bytes = Q4_0::kBytes,
                             .gguf_type = 2,
                             .max_rmse = 0.1,
                             .is_writable = true,
                             .decode = decode<Q4_0>,
                             .encode = encode,
                             .int8 = &kInt8KernelsOf<Q4_0>,
                             .bf16 = kBF16Of<Q4_0>};

}  // namespace moxie::quant
