#pragma once
// Products and sums of sizes that a stranger wrote down: nothing on overflow (rules G8, S5).
#include <cstdint>
#include <optional>

namespace moxie::io {

inline std::optional<uint64_t> checked_multiply(uint64_t a, uint64_t b) {
  uint64_t out = 0;
  if (__builtin_mul_overflow(a, b, &out) || out > INT64_MAX) return std::nullopt;
  return out;
}

inline std::optional<uint64_t> checked_add(uint64_t a, uint64_t b) {
  uint64_t out = 0;
  if (__builtin_add_overflow(a, b, &out) || out > INT64_MAX) return std::nullopt;
  return out;
}

// `size` rounded up to a multiple of `alignment`, a power of two.
inline std::optional<uint64_t> checked_pad(uint64_t size, uint64_t alignment) {
  const auto sum = checked_add(size, alignment - 1);
  return sum ? std::optional<uint64_t>(*sum & ~(alignment - 1)) : std::nullopt;
}

}  // namespace moxie::io
