#include "quant/codec.h"
#include "quant/format.h"
#include "tensor/dtype.h"

namespace moxie::quant {
namespace {

struct BF16 {
  static constexpr int kBlock = 1;
  static constexpr int kBytes = 2;
  [[gnu::always_inline]] static void decode_block(const std::byte* __restrict src,
                                                  float* __restrict dst) {
    *dst = to_float(BFloat16{load<uint16_t>(src)});
  }
};

void encode(const float* src, std::byte* dst, int64_t n) noexcept {
  for (int64_t i = 0; i < n; ++i) store(dst + 2 * i, to_bfloat16(src[i]).bits);
}

}  // namespace

extern const QuantFormat bf16_entry;
const QuantFormat bf16_entry{.summary = "bfloat16: the upper half of a float",
                             .block = BF16::kBlock,
                             .bytes = BF16::kBytes,
                             .gguf_type = 30,
                             .max_rmse = 0.0018,
                             .is_writable = true,
                             .decode = decode<BF16>,
                             .encode = encode};

}  // namespace moxie::quant
