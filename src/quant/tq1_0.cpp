#include "quant/codec.h"
#include "quant/format.h"

// 256 elements of -1, 0 or 1 times an f16 scale, five to a byte: a byte q is read as the fraction
// q / 256, whose first digits in base 3 are the elements. 32 bytes for elements 0..159 (digit t of
// byte m is element 32 t + m), 16 for 160..239, 4 with four digits for 240..255.
namespace moxie::quant {
namespace {

struct Tq1 {
  static constexpr int kBlock = 256;
  static constexpr int kBytes = 54;
  template <int kCount, int kDigits>
  [[gnu::always_inline]] static void digits(const uint8_t* q, float d, float* dst) {
    for (int t = 0; t < kDigits; ++t) {
      constexpr int kPowers[5] = {1, 3, 9, 27, 81};
      for (int m = 0; m < kCount; ++m) {
        const int rest = q[m] * kPowers[t] & 255;  // the fraction after t digits
        dst[kCount * t + m] = d * static_cast<float>((rest * 3 >> 8) - 1);
      }
    }
  }
  [[gnu::always_inline]] static void decode_block(const std::byte* __restrict src,
                                                  float* __restrict dst) {
    const auto* q = reinterpret_cast<const uint8_t*>(src);
    const float d = load_half(src + 52);
    digits<32, 5>(q, d, dst);
    digits<16, 5>(q + 32, d, dst + 160);
    digits<4, 4>(q + 48, d, dst + 240);
  }
};

}  // namespace

extern const QuantFormat tq1_0_entry;
const QuantFormat tq1_0_entry{.summary = "ternary, five to a byte, a scale per 256",
                              .block = Tq1::kBlock,
                              .bytes = Tq1::kBytes,
                              .gguf_type = 34,
                              .max_rmse = 0,
                              .is_writable = false,
                              .decode = decode<Tq1>,
                              .encode = nullptr};

}  // namespace moxie::quant
