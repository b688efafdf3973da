#pragma once
// The tensor types of a GGUF file: those of quant/, and the sizes of those that Moxie cannot
// compute with, so that a file that holds them can still be inspected.
#include <cstdint>
#include <optional>
#include <string>

#include "quant/format.h"

namespace moxie::io {

struct GgufTensorType {
  std::string name;  // "Q4_1"
  int block = 1;     // elements a block
  int bytes = 0;     // bytes a block
  const Named<quant::QuantFormat>* format = nullptr;
};

// Nothing for numbers that were never given out or that were withdrawn.
std::optional<GgufTensorType> gguf_tensor_type(uint32_t number);

}  // namespace moxie::io
