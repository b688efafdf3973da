#pragma once
// The one error type of the library. A message says what, both facts and the fix:
//   [lora] rank 64 exceeds min(in=32, out=128); choose rank <= 32
// The library throws it and never aborts, exits or prints; the edges (CLI, server) translate it.
#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace moxie {

enum class ErrorCode {
  kInvalidArgument,  // the caller's option or call is wrong
  kNotFound,         // a file, name or model that is not there
  kCorruptData,      // bytes that break their format's rules
  kUnsupported,      // well-formed, but not something Moxie does
  kIo,               // the operating system refused
  kNetwork,          // the other end refused, or is not there
  kInterrupted,      // the user asked to stop
  kInternal,         // a defect of Moxie
};

std::string_view to_string(ErrorCode code);

class Error : public std::runtime_error {
 public:
  // `where` is the op, format or verb that speaks; what() is "[where] message".
  Error(ErrorCode code, std::string where, std::string message);
  ErrorCode code() const { return code_; }
  const std::string& where() const { return where_; }
  const std::string& message() const { return message_; }

 private:
  ErrorCode code_;
  std::string where_;
  std::string message_;
};

template <class... Args>
[[noreturn, gnu::cold]] void fail(ErrorCode code, std::string_view where,
                                  fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, std::string(where), fmt::format(format, std::forward<Args>(args)...));
}

[[noreturn, gnu::cold]] void assertion_failed(const char* expression, const char* file, int line);

}  // namespace moxie

// An invariant that no input can break. Throws kInternal, in release builds too.
#define MOXIE_ASSERT(expression) \
  ((expression) ? (void)0 : ::moxie::assertion_failed(#expression, __FILE__, __LINE__))
