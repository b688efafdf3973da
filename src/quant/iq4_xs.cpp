#include "quant/codec.h"
#include "quant/format.h"
#include "quant/levels.h"

// 256 elements in 8 groups: f16 d, the scales' high bit pairs, 4 bytes of their low nibbles, then
// 16 bytes of nibbles a group as in iq4_nl; x = d * (scale - 32) * level.
namespace moxie::quant {
namespace {

struct Iq4Xs {
  static constexpr int kBlock = 256;
  static constexpr int kBytes = 136;
  [[gnu::always_inline]] static int scale_of(const std::byte* src, int group) {
    const int low = static_cast<int>(src[4 + group / 2]) >> (group % 2 * 4) & 15;
    const int high = load<uint16_t>(src + 2) >> (2 * group) & 3;
    return (low | high << 4) - 32;
  }
  [[gnu::always_inline]] static void decode_block(const std::byte* __restrict src,
                                                  float* __restrict dst) {
    const float d = load_half(src);
    for (int group = 0; group < 8; ++group) {
      const float scale = d * static_cast<float>(scale_of(src, group));
      const auto* q = reinterpret_cast<const uint8_t*>(src + 8 + 16 * group);
      for (int i = 0; i < 16; ++i) {
        dst[32 * group + i] = scale * static_cast<float>(kUnevenLevels[q[i] & 15]);
        dst[32 * group + 16 + i] = scale * static_cast<float>(kUnevenLevels[q[i] >> 4]);
      }
    }
  }
#ifndef MOXIE_SCALAR_ONLY
  MOXIE_AVX2 static void decode_block_avx2(const std::byte* src, float* dst) {
    const __m256 d = avx2::half(src);
    for (int group = 0; group < 8; ++group) {
      const __m256 scale = avx2::times(d, scale_of(src, group));
      const __m256i q = avx2::nibbles32(avx2::bytes16(src + 8 + 16 * group));
      avx2::scaled32(avx2::lookup(kUnevenLevels, q), scale, dst + 32 * group);
    }
  }
#endif
};

}  // namespace

extern const QuantFormat iq4_xs_entry;
const QuantFormat iq4_xs_entry{.summary = "4 bits on uneven levels, scales per 32 within 256",
                               .block = Iq4Xs::kBlock,
                               .bytes = Iq4Xs::kBytes,
                               .gguf_type = 23,
                               .max_rmse = 0,
                               .is_writable = false,
                               .decode = decode<Iq4Xs>,
                               .encode = nullptr};

}  // namespace moxie::quant
