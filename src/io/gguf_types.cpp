#include "io/gguf_types.h"

#include <algorithm>
#include <cctype>

namespace moxie::io {
namespace {

struct KnownSize {
  uint32_t number;
  const char* name;
  int block, bytes;
};

// Sizes from ggml-common.h of llama.cpp.
constexpr KnownSize kSizes[] = {
    {9, "Q8_1", 32, 36},     {15, "Q8_K", 256, 292},   {16, "IQ2_XXS", 256, 66},
    {17, "IQ2_XS", 256, 74}, {18, "IQ3_XXS", 256, 98}, {19, "IQ1_S", 256, 50},
    {21, "IQ3_S", 256, 110}, {22, "IQ2_S", 256, 82},   {23, "IQ4_XS", 256, 136},
    {24, "I8", 1, 1},        {25, "I16", 1, 2},        {26, "I32", 1, 4},
    {27, "I64", 1, 8},       {28, "F64", 1, 8},        {29, "IQ1_M", 256, 56},
    {34, "TQ1_0", 256, 54},  {35, "TQ2_0", 256, 66},   {39, "MXFP4", 32, 17},
};

}  // namespace

std::optional<GgufTensorType> gguf_tensor_type(uint32_t number) {
  if (number > 0xFFFF) return std::nullopt;
  if (const auto* format = quant::find_format(static_cast<int>(number))) {
    std::string name(format->name);
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    return GgufTensorType{name, (*format)->block, (*format)->bytes, format};
  }
  for (const auto& size : kSizes) {
    if (size.number == number) return GgufTensorType{size.name, size.block, size.bytes, nullptr};
  }
  return std::nullopt;
}

}  // namespace moxie::io
