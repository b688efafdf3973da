#include "quant/codec.h"
#include "quant/format.h"
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
                             .encode = nullptr};

}  // namespace moxie::quant
