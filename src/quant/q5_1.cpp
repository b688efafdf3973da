#include <algorithm>

#include "quant/codec.h"
#include "quant/codec_bf16.h"
#include "quant/format.h"
#include "quant/int8_kernels.h"
#include "tensor/dtype.h"

// 32 elements: f16 scale d, f16 minimum m, 32 fifth bits, 16 bytes of nibbles; x = d * code + m.
namespace moxie::quant {
namespace {

struct Q5_1 {
  static constexpr int kBlock = 32;
  static constexpr int kBytes = 24;
  [[gnu::always_inline]] static void decode_block(const std::byte* __restrict src,
                                                  float* __restrict dst) {
    const float d = load_half(src);
    const float m = load_half(src + 2);
    const auto high = load<uint32_t>(src + 4);
    const auto* q = reinterpret_cast<const uint8_t*>(src + 8);
    for (int i = 0; i < 16; ++i) {
      const auto low = static_cast<int>((q[i] & 15u) | (high >> i & 1u) << 4);
      const auto upper = static_cast<int>((q[i] >> 4u) | (high >> (16 + i) & 1u) << 4);
      dst[i] = d * static_cast<float>(low) + m;
      dst[16 + i] = d * static_cast<float>(upper) + m;
    }
  }

  static constexpr int kBits = 5, kOffset = 0, kScaleAt = 0, kFifthsAt = 4;
  static constexpr Minima kMinima = Minima::kBlock;
  static constexpr Multipliers kMultipliers = Multipliers::kNone;
  [[gnu::always_inline]] static void codes(const std::byte* src, int /*group*/, uint8_t* out) {
    const auto high = load<uint32_t>(src + 4);
    const auto* q = reinterpret_cast<const uint8_t*>(src + 8);
    for (int i = 0; i < 16; ++i) {
      out[i] = static_cast<uint8_t>((q[i] & 15u) | (high >> i & 1u) << 4);
      out[16 + i] = static_cast<uint8_t>((q[i] >> 4u) | (high >> (16 + i) & 1u) << 4);
    }
  }
#ifndef MOXIE_SCALAR_ONLY
  MOXIE_AVX2 static __m256i codes_avx2(const std::byte* src, int /*group*/) {
    return _mm256_or_si256(avx2::spread_nibbles(src + 8), avx2::fifth_bits(src + 4));
  }
#endif
};

void encode(const float* src, std::byte* dst, int64_t n) noexcept {
  for (int64_t b = 0; b < n / 32; ++b, src += 32, dst += Q5_1::kBytes) {
    const auto [low, high] = std::minmax_element(src, src + 32);
    const float m = *low;
    const float d = (*high - m) / 31.0f;
    const float inverse = d != 0 ? 1.0f / d : 0.0f;
    store(dst, to_float16(d).bits);
    store(dst + 2, to_float16(m).bits);
    uint32_t fifth = 0;
    for (int i = 0; i < 16; ++i) {
      const int first = code_of((src[i] - m) * inverse + 0.5f, 31);
      const int second = code_of((src[16 + i] - m) * inverse + 0.5f, 31);
      fifth |= static_cast<uint32_t>(first >> 4) << i | static_cast<uint32_t>(second >> 4)
                                                            << (16 + i);
      store(dst + 8 + i, static_cast<uint8_t>((first & 15) | (second & 15) << 4));
    }
    store(dst + 4, fifth);
  }
}

}  // namespace

extern const QuantFormat q5_1_entry;
const QuantFormat q5_1_entry{.summary = "5 bits, a scale and a minimum per 32",
                             .block = Q5_1::kBlock,
                             .bytes = Q5_1::kBytes,
                             .gguf_type = 7,
                             .max_rmse = 0.04,
                             .is_writable = true,
                             .decode = decode<Q5_1>,
                             .encode = encode,
                             .int8 = &kInt8KernelsOf<Q5_1>,
                             .bf16 = kBF16Of<Q5_1>};

}  // namespace moxie::quant
