#include "data/preview.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

namespace moxie::data {
namespace {

struct Marks {
  std::string_view open, close, open_other, close_other;
};
constexpr Marks kBrackets{"[[", "]]", "", ""};
constexpr Marks kColours{"\033[1;32m", "\033[0m", "\033[2m", "\033[0m"};

// C0 controls but newline and tab, DEL, and the C1 controls (U+0080 to U+009F).
std::string escaped(std::string_view text) {
  std::string safe;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const auto next = i + 1 < text.size() ? static_cast<unsigned char>(text[i + 1]) : 0;
    if ((byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7F) {
      safe += fmt::format("\\x{:02x}", byte);
    } else if (byte == 0xC2 && next >= 0x80 && next < 0xA0) {
      safe += fmt::format("\\x{:02x}", next);
      ++i;
    } else {
      safe += text[i];
    }
  }
  return safe;
}

}  // namespace

std::string preview(const Sample& sample, const Decode& decode, bool in_colour) {
  const Marks& marks = in_colour ? kColours : kBrackets;
  const std::string whole = decode(sample.tokens);
  // The prediction of the first token is never learnt.
  const auto is_learnt = [&](size_t t) { return t > 0 && sample.is_learnt[t] != 0; };
  std::string text;
  size_t begin = 0;  // byte of `whole`
  for (size_t t = 0; t < sample.tokens.size();) {
    const bool state = is_learnt(t);
    while (t < sample.tokens.size() && is_learnt(t) == state) ++t;
    // Decoding from the start: decoders treat the first token of a text differently.
    size_t end = whole.size();
    if (t < sample.tokens.size()) {
      const std::string part =
          decode({sample.tokens.begin(), sample.tokens.begin() + static_cast<ptrdiff_t>(t)});
      const auto same = std::mismatch(
          part.begin(), part.begin() + static_cast<ptrdiff_t>(std::min(part.size(), whole.size())),
          whole.begin());
      end = std::max(begin, static_cast<size_t>(same.first - part.begin()));
    }
    text += state ? marks.open : marks.open_other;
    text += escaped(std::string_view(whole).substr(begin, end - begin));
    text += state ? marks.close : marks.close_other;
    begin = end;
  }
  text += fmt::format("\n({} tokens, {} learnt", sample.tokens.size(), sample.learnt_count());
  if (sample.cut > 0) text += fmt::format(", {} more cut by the length limit", sample.cut);
  return text + ")\n";
}

}  // namespace moxie::data
