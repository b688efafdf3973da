#include <algorithm>

#include "quant/codec.h"
#include "quant/codec_bf16.h"
#include "quant/format.h"
#include "quant/int8_kernels.h"
#include "tensor/dtype.h"

// 32 elements: f16 scale d, f16 minimum m, then 16 bytes of nibbles as in q4_0; x = d * nibble + m.
namespace moxie::quant {
namespace {

struct Q4_1 {
  static constexpr int kBlock = 32;
  static constexpr int kBytes = 20;
  [[gnu::always_inline]] static void decode_block(const std::byte* __restrict src,
                                                  float* __restrict dst) {
    const float d = load_half(src);
    const float m = load_half(src + 2);
    const auto* q = reinterpret_cast<const uint8_t*>(src + 4);
    for (int i = 0; i < 16; ++i) dst[i] = d * static_cast<float>(q[i] & 15) + m;
    for (int i = 0; i < 16; ++i) dst[16 + i] = d * static_cast<float>(q[i] >> 4) + m;
  }
#ifndef MOXIE_SCALAR_ONLY
  MOXIE_AVX2 static void decode_block_avx2(const std::byte* src, float* dst) {
    avx2::affine32(codes_avx2(src, 0), avx2::half(src), avx2::half(src + 2), dst);
  }
#endif

  static constexpr int kBits = 4, kOffset = 0, kScaleAt = 0, kNibblesAt = 4;
  static constexpr Minima kMinima = Minima::kBlock;
  static constexpr Multipliers kMultipliers = Multipliers::kNone;
  [[gnu::always_inline]] static void codes(const std::byte* src, int /*group*/, uint8_t* out) {
    const auto* q = reinterpret_cast<const uint8_t*>(src + 4);
    for (int i = 0; i < 16; ++i) {
      out[i] = q[i] & 15;
      out[16 + i] = q[i] >> 4;
    }
  }
#ifndef MOXIE_SCALAR_ONLY
  MOXIE_AVX2 static __m256i codes_avx2(const std::byte* src, int /*group*/) {
    return avx2::spread_nibbles(src + 4);
  }
#endif
};

void encode(const float* src, std::byte* dst, int64_t n) noexcept {
  for (int64_t b = 0; b < n / 32; ++b, src += 32, dst += Q4_1::kBytes) {
    const auto [low, high] = std::minmax_element(src, src + 32);
    const float m = *low;
    const float d = (*high - m) / 15.0f;
    const float inverse = d != 0 ? 1.0f / d : 0.0f;
    store(dst, to_float16(d).bits);
    store(dst + 2, to_float16(m).bits);
    for (int i = 0; i < 16; ++i) {
      const int low_code = code_of((src[i] - m) * inverse + 0.5f, 15);
      const int high_code = code_of((src[16 + i] - m) * inverse + 0.5f, 15);
      store(dst + 4 + i, static_cast<uint8_t>(low_code | high_code << 4));
    }
  }
}

}  // namespace

extern const QuantFormat q4_1_entry;
const QuantFormat q4_1_entry{.summary = "4 bits, a scale and a minimum per 32",
                             .block = Q4_1::kBlock,
                             .bytes = Q4_1::kBytes,
                             .gguf_type = 3,
                             .max_rmse = 0.09,
                             .is_writable = true,
                             .decode = decode<Q4_1>,
                             .encode = encode,
                             .int8 = &kInt8KernelsOf<Q4_1>,
                             .bf16 = kBF16Of<Q4_1>};

}  // namespace moxie::quant
