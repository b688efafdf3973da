// safetensors: whatever the bytes, the parser returns or throws an Error, and what it returns can
// be read. A seed is a whole file.
#include <cstdint>
#include <memory>

#include "io/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace moxie;
  try {
    const auto bytes = std::make_shared<std::vector<std::byte>>(
        reinterpret_cast<const std::byte*>(data), reinterpret_cast<const std::byte*>(data) + size);
    const auto file = io::Safetensors::parse(*bytes, bytes, "fuzz");
    for (const auto& tensor : file->tensors()) {
      if (file->find(tensor.name) == nullptr) __builtin_trap();
      if (tensor.format != nullptr) tensor.as_f32();
    }
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kInternal) __builtin_trap();
  }
  return 0;
}
