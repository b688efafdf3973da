#pragma once
// Where the assistant's turns stand in a rendered conversation, for chat templates that do not say
// it by {% generation %}.
//
// For the turn at index i: it begins where the rendering of the messages before it, with the
// generation prompt, ends; it ends where the rendering up to and with it ends. Both renderings must
// be prefixes of the whole. Templates that render a turn differently once more turns follow (Qwen3
// drops the thoughts of earlier turns) are handled by rendering once more with a marker in place of
// the turn's words; what cannot be located at all is an error that says what to do.
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "text/tokenizer.h"

namespace moxie::data {

using ByteRange = std::pair<int64_t, int64_t>;

struct Conversation {
  const Json& messages;
  // Renders a list of messages.
  std::function<std::string(const Json& messages, bool add_generation_prompt)> render;
  const std::string& text;         // all messages, rendered
  const text::Encoding& encoding;  // of text
  std::function<bool(int32_t)> is_special;
  std::string_view where;
};

std::vector<ByteRange> assistant_ranges(const Conversation& chat);

// Per token, whether it has a byte in one of the ranges (ascending, disjoint).
std::vector<uint8_t> tokens_in(const text::Encoding& encoding,
                               const std::vector<ByteRange>& ranges);

}  // namespace moxie::data
