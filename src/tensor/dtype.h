#pragma once
// Element types of a Tensor: what maths runs on. Block formats of stored weights are in quant/.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace moxie {

enum class DType : uint8_t { kF32, kF64, kBF16, kF16, kI32, kI64, kU8 };

size_t size_of(DType dtype);
std::string_view name_of(DType dtype);  // "f32", ...

// bfloat16: the upper half of a float, rounded to nearest even; NaN stays NaN.
struct BFloat16 {
  uint16_t bits;
};
inline float to_float(BFloat16 value) {
  const uint32_t wide = uint32_t{value.bits} << 16;
  float out;
  std::memcpy(&out, &wide, 4);
  return out;
}
inline BFloat16 to_bfloat16(float value) {
  uint32_t wide;
  std::memcpy(&wide, &value, 4);
  if ((wide & 0x7FFFFFFFu) > 0x7F800000u) return {static_cast<uint16_t>((wide >> 16) | 0x40u)};
  return {static_cast<uint16_t>((wide + 0x7FFFu + ((wide >> 16) & 1u)) >> 16)};
}

// IEEE half precision, converted in software (kernels use F16C where the CPU has it).
struct Float16 {
  uint16_t bits;
};
float to_float(Float16 value);
Float16 to_float16(float value);

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::kF32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::kF64;
};
template <>
struct DTypeOf<BFloat16> {
  static constexpr DType value = DType::kBF16;
};
template <>
struct DTypeOf<Float16> {
  static constexpr DType value = DType::kF16;
};
template <>
struct DTypeOf<int32_t> {
  static constexpr DType value = DType::kI32;
};
template <>
struct DTypeOf<int64_t> {
  static constexpr DType value = DType::kI64;
};
template <>
struct DTypeOf<uint8_t> {
  static constexpr DType value = DType::kU8;
};

}  // namespace moxie
