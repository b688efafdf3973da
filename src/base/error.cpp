#include "base/error.h"

namespace moxie {

std::string_view to_string(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return "invalid_argument";
    case ErrorCode::kNotFound:
      return "not_found";
    case ErrorCode::kCorruptData:
      return "corrupt_data";
    case ErrorCode::kUnsupported:
      return "unsupported";
    case ErrorCode::kIo:
      return "io";
    case ErrorCode::kNetwork:
      return "network";
    case ErrorCode::kInterrupted:
      return "interrupted";
    case ErrorCode::kInternal:
      return "internal";
  }
  return "internal";
}

Error::Error(ErrorCode code, std::string where, std::string message)
    : std::runtime_error("[" + where + "] " + message),
      code_(code),
      where_(std::move(where)),
      message_(std::move(message)) {}

void assertion_failed(const char* expression, const char* file, int line) {
  throw Error(ErrorCode::kInternal, "internal",
              fmt::format("{}:{}: '{}' does not hold; please report this", file, line, expression));
}

}  // namespace moxie
