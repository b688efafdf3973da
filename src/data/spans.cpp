#include "data/spans.h"

#include <algorithm>
#include <optional>

#include "base/error.h"

namespace moxie::data {
namespace {

// Letters and digits only: no template trims, escapes or splits it.
constexpr std::string_view kMarker = "MoxieMarksThisTurn7c31";

Json first_messages(const Json& messages, size_t count) {
  return Json(Json::array_t(messages.begin(), messages.begin() + static_cast<ptrdiff_t>(count)));
}

// Templates may refuse part of a conversation (roles must alternate); then there is no rendering.
std::optional<std::string> try_render(const Conversation& chat, const Json& messages,
                                      bool add_generation_prompt) {
  try {
    return chat.render(messages, add_generation_prompt);
  } catch (const Error&) {
    return std::nullopt;
  }
}

int64_t common_bytes(std::string_view a, std::string_view b) {
  return std::mismatch(a.begin(), a.begin() + static_cast<ptrdiff_t>(std::min(a.size(), b.size())),
                       b.begin())
             .first -
         a.begin();
}

// The start of turn i: where its generation prompt ends or, if the template writes another heading
// for turns of the past (an open thought), where the two part.
std::optional<int64_t> find_start(const Conversation& chat, size_t i) {
  const Json before = first_messages(chat.messages, i);
  const auto asked = try_render(chat, before, true);
  if (!asked) return std::nullopt;
  const int64_t same = common_bytes(*asked, chat.text);
  if (same == static_cast<int64_t>(asked->size())) return same;
  const auto plain = try_render(chat, before, false);
  if (plain && chat.text.starts_with(*plain) && same > static_cast<int64_t>(plain->size())) {
    return same;
  }
  return std::nullopt;
}

std::optional<int64_t> find_end(const Conversation& chat, size_t i) {
  if (i + 1 == chat.messages.size()) return static_cast<int64_t>(chat.text.size());
  const auto rendered = try_render(chat, first_messages(chat.messages, i + 1), false);
  if (!rendered || !chat.text.starts_with(*rendered)) return std::nullopt;
  return static_cast<int64_t>(rendered->size());
}

// The bytes the words of turn i became, by what stays the same around a marker in their place.
std::optional<ByteRange> find_words(const Conversation& chat, size_t i) {
  if (chat.messages[i].contains("tool_calls")) return std::nullopt;
  Json marked = chat.messages;
  marked[i]["content"] = std::string(kMarker);
  const auto rendered = try_render(chat, marked, false);
  if (!rendered) return std::nullopt;
  const size_t at = rendered->find(kMarker);
  if (at == std::string::npos || at != rendered->rfind(kMarker)) return std::nullopt;
  const std::string_view front(rendered->data(), at);
  const std::string_view back = std::string_view(*rendered).substr(at + kMarker.size());
  if (front.size() + back.size() > chat.text.size() || !chat.text.starts_with(front) ||
      !chat.text.ends_with(back)) {
    return std::nullopt;
  }
  return ByteRange{front.size(), chat.text.size() - back.size()};
}

bool is_space(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

// From the end of the words to behind the token that ends the turn, if one follows directly.
int64_t behind_end_of_turn(const Conversation& chat, int64_t end) {
  const auto& offsets = chat.encoding.offsets;
  for (size_t t = 0; t < offsets.size(); ++t) {
    const auto [begin, stop] = offsets[t];
    if (begin < end) continue;
    if (chat.is_special && chat.is_special(chat.encoding.ids[t])) return stop;
    if (!is_space(std::string_view(chat.text).substr(static_cast<size_t>(begin),
                                                     static_cast<size_t>(stop - begin)))) {
      return end;
    }
  }
  return end;
}

ByteRange range_of_turn(const Conversation& chat, size_t i) {
  auto begin = find_start(chat, i);
  auto end = find_end(chat, i);
  if (!begin || !end || *end < *begin) {
    if (const auto words = find_words(chat, i)) {
      if (!begin || *begin > words->second) begin = words->first;
      if (!end || *end < words->second) end = behind_end_of_turn(chat, words->second);
    }
  }
  if (!begin || !end || *end < *begin) {
    fail(ErrorCode::kUnsupported, chat.where,
         "the chat template renders message {} differently once more messages follow, so that the "
         "assistant's words cannot be told apart; use a template with {{% generation %}} blocks, "
         "or learn everything (loss_on all)",
         i + 1);
  }
  return {*begin, *end};
}

}  // namespace

std::vector<ByteRange> assistant_ranges(const Conversation& chat) {
  std::vector<ByteRange> ranges;
  for (size_t i = 0; i < chat.messages.size(); ++i) {
    if (chat.messages[i]["role"] == "assistant") ranges.push_back(range_of_turn(chat, i));
  }
  return ranges;
}

std::vector<uint8_t> tokens_in(const text::Encoding& encoding,
                               const std::vector<ByteRange>& ranges) {
  std::vector<uint8_t> inside(encoding.ids.size(), 0);
  for (size_t t = 0; t < inside.size(); ++t) {
    const auto [begin, end] = encoding.offsets[t];
    // The ranges that end behind this token's first byte begin at the first of these.
    const auto range = std::upper_bound(
        ranges.begin(), ranges.end(), begin,
        [](int64_t at, const ByteRange& candidate) { return at < candidate.second; });
    inside[t] = range != ranges.end() && range->first < end;
  }
  return inside;
}

}  // namespace moxie::data
