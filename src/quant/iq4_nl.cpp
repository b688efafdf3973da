#include "quant/codec.h"
#include "quant/format.h"
#include "quant/levels.h"

// 32 elements: an f16 scale d, then 16 bytes of nibbles as in q4_0 that index a table of unevenly
// spaced levels; x = d * level.
namespace moxie::quant {
namespace {

struct Iq4Nl {
  static constexpr int kBlock = 32;
  static constexpr int kBytes = 18;
  [[gnu::always_inline]] static void decode_block(const std::byte* __restrict src,
                                                  float* __restrict dst) {
    const float d = load_half(src);
    const auto* q = reinterpret_cast<const uint8_t*>(src + 2);
    for (int i = 0; i < 16; ++i) {
      dst[i] = d * static_cast<float>(kUnevenLevels[q[i] & 15]);
      dst[16 + i] = d * static_cast<float>(kUnevenLevels[q[i] >> 4]);
    }
  }
#ifndef MOXIE_SCALAR_ONLY
  MOXIE_AVX2 static void decode_block_avx2(const std::byte* src, float* dst) {
    const __m256i q = avx2::nibbles32(avx2::bytes16(src + 2));
    avx2::scaled32(avx2::lookup(kUnevenLevels, q), avx2::half(src), dst);
  }
#endif
};

}  // namespace

extern const QuantFormat iq4_nl_entry;
const QuantFormat iq4_nl_entry{.summary = "4 bits on uneven levels, a scale per 32",
                               .block = Iq4Nl::kBlock,
                               .bytes = Iq4Nl::kBytes,
                               .gguf_type = 20,
                               .max_rmse = 0,
                               .is_writable = false,
                               .decode = decode<Iq4Nl>,
                               .encode = nullptr};

}  // namespace moxie::quant
