#include "quant/codec.h"
#include "quant/format.h"

// 256 elements in 16 groups: 32 bytes of third bits, 64 bytes of 2-bit codes, 12 bytes with a 6-bit
// scale a group, f16 d; x = d * (scale - 32) * (code - 4). Element 128 h + 32 j + l has its low
// bits at 2 j of byte 32 h + l and its third bit at 4 h + j of byte l.
namespace moxie::quant {
namespace {

struct Q3_K {
  static constexpr int kBlock = 256;
  static constexpr int kBytes = 110;
  [[gnu::always_inline]] static void decode_block(const std::byte* __restrict src,
                                                  float* __restrict dst) {
    const auto* thirds = reinterpret_cast<const uint8_t*>(src);
    const auto* q = reinterpret_cast<const uint8_t*>(src + 32);
    const auto* scales = reinterpret_cast<const uint8_t*>(src + 96);
    const float d = load_half(src + 108);
    for (int group = 0; group < 16; ++group) {
      // Scale g: four bits in byte g % 8, by halves, and two in byte 8 + g % 4, by quarters.
      const int low = scales[group % 8] >> (group / 8 * 4) & 15;
      const int high = scales[8 + group % 4] >> (group / 4 * 2) & 3;
      const float scale = d * static_cast<float>((low | high << 4) - 32);
      const int half = group / 8;
      const int quarter = group / 2 % 4;
      const uint8_t* codes = q + half * 32 + group % 2 * 16;
      const uint8_t* bits = thirds + group % 2 * 16;
      for (int i = 0; i < 16; ++i) {
        const int third = bits[i] >> (half * 4 + quarter) & 1;
        const int code = (codes[i] >> (2 * quarter) & 3) + 4 * third - 4;
        dst[group * 16 + i] = scale * static_cast<float>(code);
      }
    }
  }
};

}  // namespace

extern const QuantFormat q3_k_entry;
const QuantFormat q3_k_entry{.summary = "3 bits, scales per 16 within 256",
                             .block = Q3_K::kBlock,
                             .bytes = Q3_K::kBytes,
                             .gguf_type = 11,
                             .max_rmse = 0,
                             .is_writable = false,
                             .decode = decode<Q3_K>,
                             .encode = nullptr};

}  // namespace moxie::quant
