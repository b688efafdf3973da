#include "quant/codec.h"
#include "quant/codec_bf16.h"
#include "quant/format.h"
#include "quant/int8_kernels.h"
#include "tensor/dtype.h"

// 32 elements: an f16 scale d, 32 fifth bits, then 16 bytes of nibbles as in q4_0;
// x = d * (code - 16).
namespace moxie::quant {
namespace {

struct Q5_0 {
  static constexpr int kBlock = 32;
  static constexpr int kBytes = 22;
  [[gnu::always_inline]] static void decode_block(const std::byte* __restrict src,
                                                  float* __restrict dst) {
    const float d = load_half(src);
    const auto high = load<uint32_t>(src + 2);
    const auto* q = reinterpret_cast<const uint8_t*>(src + 6);
    for (int i = 0; i < 16; ++i) {
      const auto low = static_cast<int>((q[i] & 15u) | (high >> i & 1u) << 4);
      const auto upper = static_cast<int>((q[i] >> 4u) | (high >> (16 + i) & 1u) << 4);
      dst[i] = d * static_cast<float>(low - 16);
      dst[16 + i] = d * static_cast<float>(upper - 16);
    }
  }

  static constexpr int kBits = 5, kOffset = 16, kScaleAt = 0, kFifthsAt = 2;
  static constexpr Minima kMinima = Minima::kNone;
  static constexpr Multipliers kMultipliers = Multipliers::kNone;
  [[gnu::always_inline]] static void codes(const std::byte* src, int /*group*/, uint8_t* out) {
    const auto high = load<uint32_t>(src + 2);
    const auto* q = reinterpret_cast<const uint8_t*>(src + 6);
    for (int i = 0; i < 16; ++i) {
      out[i] = static_cast<uint8_t>((q[i] & 15u) | (high >> i & 1u) << 4);
      out[16 + i] = static_cast<uint8_t>((q[i] >> 4u) | (high >> (16 + i) & 1u) << 4);
    }
  }
#ifndef MOXIE_SCALAR_ONLY
  MOXIE_AVX2 static __m256i codes_avx2(const std::byte* src, int /*group*/) {
    return _mm256_or_si256(avx2::spread_nibbles(src + 6), avx2::fifth_bits(src + 2));
  }
#endif
};

void encode(const float* src, std::byte* dst, int64_t n) noexcept {
  for (int64_t b = 0; b < n / 32; ++b, src += 32, dst += Q5_0::kBytes) {
    const float d = extreme(src, 32) / -16.0f;
    const float inverse = d != 0 ? 1.0f / d : 0.0f;
    store(dst, to_float16(d).bits);
    uint32_t high = 0;
    for (int i = 0; i < 16; ++i) {
      const int low = code_of(src[i] * inverse + 16.5f, 31);
      const int upper = code_of(src[16 + i] * inverse + 16.5f, 31);
      high |= static_cast<uint32_t>(low >> 4) << i | static_cast<uint32_t>(upper >> 4) << (16 + i);
      store(dst + 6 + i, static_cast<uint8_t>((low & 15) | (upper & 15) << 4));
    }
    store(dst + 2, high);
  }
}

}  // namespace

extern const QuantFormat q5_0_entry;
const QuantFormat q5_0_entry{.summary = "5 bits, a scale per 32",
                             .block = Q5_0::kBlock,
                             .bytes = Q5_0::kBytes,
                             .gguf_type = 6,
                             .max_rmse = 0.05,
                             .is_writable = true,
                             .decode = decode<Q5_0>,
                             .encode = encode,
                             .int8 = &kInt8KernelsOf<Q5_0>,
                             .bf16 = kBF16Of<Q5_0>};

}  // namespace moxie::quant
