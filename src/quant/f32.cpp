#include <cstring>

#include "quant/format.h"

namespace moxie::quant {
namespace {

void decode(const std::byte* src, float* dst, int64_t n) noexcept {
  std::memcpy(dst, src, static_cast<size_t>(n) * 4);
}

void encode(const float* src, std::byte* dst, int64_t n) noexcept {
  std::memcpy(dst, src, static_cast<size_t>(n) * 4);
}

}  // namespace

extern const QuantFormat f32_entry;
const QuantFormat f32_entry{.summary = "32-bit floating point",
                            .block = 1,
                            .bytes = 4,
                            .gguf_type = 0,
                            .max_rmse = 0,
                            .is_writable = true,
                            .decode = decode,
                            .encode = encode};

}  // namespace moxie::quant
