#pragma once
// Between C++ and moxie_text.h: owned results and statuses turned into moxie::Error.
// Only the .cpp files of this folder include it.
#include <string>
#include <string_view>
#include <utility>

#include "moxie_text.h"

namespace moxie::text {

inline moxie_text_str to_c(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// Copies the bytes and frees the buffer.
std::string take(moxie_text_buffer buffer);

// Throws what `status` says, with the message of `error`, unless it is MOXIE_TEXT_OK.
void check(int32_t status, moxie_text_buffer error, std::string_view where);

// Calls a function of the header whose last two arguments are `out` and `error`.
template <class Out, class Function, class... Args>
Out call(std::string_view where, Function function, Args... args) {
  Out out{};
  moxie_text_buffer error{};
  check(function(args..., &out, &error), error, where);
  return out;
}

}  // namespace moxie::text
