// GGUF: whatever the bytes, the parser returns or throws an Error, and what it returns can be read.
#include <cstdint>
#include <memory>
#include <string>

#include "io/gguf.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace moxie;
  try {
    // A copy of exactly this size: a read beyond its end is seen.
    const auto bytes = std::make_shared<std::vector<std::byte>>(
        reinterpret_cast<const std::byte*>(data), reinterpret_cast<const std::byte*>(data) + size);
    const auto file = io::GgufFile::parse(*bytes, bytes, "fuzz");
    for (size_t i = 0; i < file->metadata().size(); ++i) {
      if (!file->has(file->metadata()[i].first)) __builtin_trap();
    }
    for (const auto& tensor : file->tensors()) {
      if (tensor.format != nullptr && tensor.count() < (1 << 16)) tensor.as_f32();
    }
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kInternal) __builtin_trap();
  }
  return 0;
}
