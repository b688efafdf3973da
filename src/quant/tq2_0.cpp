#include <cmath>
#include <cstring>

#include "quant/codec.h"
#include "quant/format.h"
#include "tensor/dtype.h"

// 256 elements of -1, 0 or 1 times an f16 scale, four to a byte, then the scale: element
// 128 h + 32 j + l has its code in bits 2 j of byte 32 h + l.
namespace moxie::quant {
namespace {

struct Tq2 {
  static constexpr int kBlock = 256;
  static constexpr int kBytes = 66;
  [[gnu::always_inline]] static void decode_block(const std::byte* __restrict src,
                                                  float* __restrict dst) {
    const auto* q = reinterpret_cast<const uint8_t*>(src);
    const float d = load_half(src + 64);
    for (int part = 0; part < 8; ++part) {
      for (int i = 0; i < 32; ++i) {
        const int code = q[part / 4 * 32 + i] >> (part % 4 * 2) & 3;
        dst[32 * part + i] = d * static_cast<float>(code - 1);
      }
    }
  }
};

// For weights that are ternary already: the scale is the largest magnitude.
void encode(const float* src, std::byte* dst, int64_t n) noexcept {
  for (int64_t b = 0; b < n / 256; ++b, src += 256, dst += Tq2::kBytes) {
    const float d = std::fabs(extreme(src, 256));
    const float inverse = d > 0 ? 1.0f / d : 0.0f;
    std::memset(dst, 0, 64);
    for (int e = 0; e < 256; ++e) {
      const int code = code_of(std::round(src[e] * inverse) + 1.0f, 2);
      dst[e / 128 * 32 + e % 32] |= static_cast<std::byte>(code << (e / 32 % 4 * 2));
    }
    store(dst + 64, to_float16(d).bits);
  }
}

}  // namespace

extern const QuantFormat tq2_0_entry;
const QuantFormat tq2_0_entry{.summary = "ternary, four to a byte, a scale per 256",
                              .block = Tq2::kBlock,
                              .bytes = Tq2::kBytes,
                              .gguf_type = 35,
                              .max_rmse = 0.85,
                              .is_writable = true,
                              .decode = decode<Tq2>,
                              .encode = encode};

}  // namespace moxie::quant
