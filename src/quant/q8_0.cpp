#include <cmath>

#include "quant/codec.h"
#include "quant/codec_bf16.h"
#include "quant/format.h"
#include "quant/int8_kernels.h"
#include "tensor/dtype.h"

// 32 elements: an f16 scale d, then 32 signed bytes q; x = d * q.
namespace moxie::quant {
namespace {

struct Q8_0 {
  static constexpr int kBlock = 32;
  static constexpr int kBytes = 34;
  [[gnu::always_inline]] static void decode_block(const std::byte* __restrict src,
                                                  float* __restrict dst) {
    const float d = load_half(src);
    const auto* q = reinterpret_cast<const int8_t*>(src + 2);
    for (int i = 0; i < 32; ++i) dst[i] = d * static_cast<float>(q[i]);
  }
#ifndef MOXIE_SCALAR_ONLY
  MOXIE_AVX2 static void decode_block_avx2(const std::byte* src, float* dst) {
    avx2::scaled32(avx2::bytes32(src + 2), avx2::half(src), dst);
  }
#endif

  static constexpr int kBits = 8, kOffset = 128, kScaleAt = 0;
  static constexpr Minima kMinima = Minima::kNone;
  static constexpr Multipliers kMultipliers = Multipliers::kNone;
  [[gnu::always_inline]] static void codes(const std::byte* src, int /*group*/, uint8_t* out) {
    for (int i = 0; i < 32; ++i) {
      out[i] = static_cast<uint8_t>(load<uint8_t>(src + 2 + i) ^ 0x80);
    }
  }
#ifndef MOXIE_SCALAR_ONLY
  MOXIE_AVX2 static __m256i codes_avx2(const std::byte* src, int /*group*/) {
    return _mm256_xor_si256(avx2::bytes32(src + 2), _mm256_set1_epi8(-128));
  }
#endif
};

void encode(const float* src, std::byte* dst, int64_t n) noexcept {
  for (int64_t b = 0; b < n / 32; ++b, src += 32, dst += Q8_0::kBytes) {
    const float d = std::fabs(extreme(src, 32)) / 127.0f;
    const float inverse = d > 0 ? 1.0f / d : 0.0f;
    store(dst, to_float16(d).bits);
    for (int i = 0; i < 32; ++i) {
      store(dst + 2 + i,
            static_cast<int8_t>(code_of(std::round(src[i] * inverse) + 127.0f, 254) - 127));
    }
  }
}

}  // namespace

extern const QuantFormat q8_0_entry;
const QuantFormat q8_0_entry{.summary = "8 bits, a scale per 32",
                             .block = Q8_0::kBlock,
                             .bytes = Q8_0::kBytes,
                             .gguf_type = 8,
                             .max_rmse = 0.0058,
                             .is_writable = true,
                             .decode = decode<Q8_0>,
                             .encode = encode,
                             .int8 = &kInt8KernelsOf<Q8_0>,
                             .bf16 = kBF16Of<Q8_0>};

}  // namespace moxie::quant
