#include "quant/codec.h"
#include "quant/format.h"

// 256 elements in 16 groups: 16 bytes with a 4-bit scale (low) and minimum (high) a group, 64 bytes
// of 2-bit codes, f16 d and dmin; x = d * scale * code - dmin * minimum. Element 128 h + 32 j + l
// has its code in bits 2 j of byte 32 h + l.
namespace moxie::quant {
namespace {

struct Q2_K {
  static constexpr int kBlock = 256;
  static constexpr int kBytes = 84;
  [[gnu::always_inline]] static void decode_block(const std::byte* __restrict src,
                                                  float* __restrict dst) {
    const auto* scales = reinterpret_cast<const uint8_t*>(src);
    const auto* q = reinterpret_cast<const uint8_t*>(src + 16);
    const float d = load_half(src + 80);
    const float dmin = load_half(src + 82);
    for (int group = 0; group < 16; ++group) {
      const float scale = d * static_cast<float>(scales[group] & 15);
      const float minimum = dmin * static_cast<float>(scales[group] >> 4);
      const uint8_t* codes = q + group / 8 * 32 + group % 2 * 16;
      const int shift = group / 2 % 4 * 2;
      for (int i = 0; i < 16; ++i) {
        dst[group * 16 + i] = scale * static_cast<float>(codes[i] >> shift & 3) - minimum;
      }
    }
  }
};

}  // namespace

extern const QuantFormat q2_k_entry;
const QuantFormat q2_k_entry{.summary = "2 bits, scales and minima per 16 within 256",
                             .block = Q2_K::kBlock,
                             .bytes = Q2_K::kBytes,
                             .gguf_type = 10,
                             .max_rmse = 0,
                             .is_writable = false,
                             .decode = decode<Q2_K>,
                             .encode = nullptr};

}  // namespace moxie::quant
