#include "quant/codec.h"
#include "quant/format.h"
#include "tensor/dtype.h"

namespace moxie::quant {
namespace {

struct F16 {
  static constexpr int kBlock = 1;
  static constexpr int kBytes = 2;
  [[gnu::always_inline]] static void decode_block(const std::byte* __restrict src,
                                                  float* __restrict dst) {
    *dst = load_half(src);
  }
};

void decode(const std::byte* src, float* dst, int64_t n) noexcept {
#ifndef MOXIE_SCALAR_ONLY
  if (active_isa() >= Isa::kAvx2) {
    const int64_t whole = n / 8 * 8;
    avx2::halves(src, dst, whole);
    return decode_scalar<F16>(src + 2 * whole, dst + whole, n - whole);
  }
#endif
  decode_scalar<F16>(src, dst, n);
}

void encode(const float* src, std::byte* dst, int64_t n) noexcept {
  for (int64_t i = 0; i < n; ++i) store(dst + 2 * i, to_float16(src[i]).bits);
}

}  // namespace

extern const QuantFormat f16_entry;
const QuantFormat f16_entry{.summary = "IEEE half precision",
                            .block = F16::kBlock,
                            .bytes = F16::kBytes,
                            .gguf_type = 1,
                            .max_rmse = 0.00023,
                            .is_writable = true,
                            .decode = decode,
                            .encode = encode};

}  // namespace moxie::quant
