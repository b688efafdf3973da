#include "quant/codec.h"
#include "quant/format.h"

// OCP Microscaling: 32 elements, a shared power of two (E8M0), then 16 bytes of nibbles as in q4_0,
// each a 4-bit float (E2M1). kTwiceE2M1 holds twice the values, so the scale here is half of
// theirs.
namespace moxie::quant {
namespace {

constexpr int8_t kTwiceE2M1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// 2^(exponent - 128)
[[gnu::always_inline]] inline float half_power(uint8_t exponent) {
  const uint32_t bits = exponent < 2 ? 0x00200000u << exponent : (exponent - 1u) << 23;
  float out;
  std::memcpy(&out, &bits, 4);
  return out;
}

struct Mxfp4 {
  static constexpr int kBlock = 32;
  static constexpr int kBytes = 17;
  [[gnu::always_inline]] static void decode_block(const std::byte* __restrict src,
                                                  float* __restrict dst) {
    const float d = half_power(static_cast<uint8_t>(src[0]));
    const auto* q = reinterpret_cast<const uint8_t*>(src + 1);
    for (int i = 0; i < 16; ++i) {
      dst[i] = d * static_cast<float>(kTwiceE2M1[q[i] & 15]);
      dst[16 + i] = d * static_cast<float>(kTwiceE2M1[q[i] >> 4]);
    }
  }
#ifndef MOXIE_SCALAR_ONLY
  MOXIE_AVX2 static void decode_block_avx2(const std::byte* src, float* dst) {
    const __m256 d = _mm256_set1_ps(half_power(static_cast<uint8_t>(src[0])));
    const __m256i q = avx2::nibbles32(avx2::bytes16(src + 1));
    avx2::scaled32(avx2::lookup(kTwiceE2M1, q), d, dst);
  }
#endif
};

}  // namespace

extern const QuantFormat mxfp4_entry;
const QuantFormat mxfp4_entry{.summary = "4-bit floats, a power of two per 32",
                              .block = Mxfp4::kBlock,
                              .bytes = Mxfp4::kBytes,
                              .gguf_type = 39,
                              .max_rmse = 0,
                              .is_writable = false,
                              .decode = decode<Mxfp4>,
                              .encode = nullptr};

}  // namespace moxie::quant
