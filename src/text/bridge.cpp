#include "text/bridge.h"

#include "base/error.h"

namespace moxie::text {

std::string take(moxie_text_buffer buffer) {
  std::string text(reinterpret_cast<const char*>(buffer.data), buffer.size);
  moxie_text_buffer_free(buffer);
  return text;
}

void check(int32_t status, moxie_text_buffer error, std::string_view where) {
  if (status == MOXIE_TEXT_OK) return;
  const std::string message = take(error);
  switch (status) {
    case MOXIE_TEXT_CORRUPT:
      throw Error(ErrorCode::kCorruptData, std::string(where), message);
    case MOXIE_TEXT_INVALID:
    case MOXIE_TEXT_RAISED:
      throw Error(ErrorCode::kInvalidArgument, std::string(where), message);
    case MOXIE_TEXT_UNKNOWN:
      throw Error(ErrorCode::kUnsupported, std::string(where), message);
    default:
      throw Error(ErrorCode::kInternal, std::string(where), message);
  }
}

}  // namespace moxie::text
