// The tokenizer bridge: the first byte says whether the rest is a tokenizer.json or the parts of a
// GGUF vocabulary, one a line. Whatever the bytes, an Error or a tokenizer that encodes and
// decodes.
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "text/tokenizer.h"

namespace {

using namespace moxie;

constexpr std::string_view kText = "Hi  <s> 12\n\xE6\x97\xA5 ab";
constexpr auto kSize = static_cast<int64_t>(kText.size());

void use(const text::Tokenizer& tokenizer) {
  for (const bool parse_special : {true, false}) {
    const auto encoding = tokenizer.encode(kText, {.parse_special = parse_special});
    if (encoding.ids.size() != encoding.offsets.size()) __builtin_trap();
    for (const auto& [begin, end] : encoding.offsets) {
      if (begin < 0 || end < begin || end > kSize) __builtin_trap();
    }
    tokenizer.decode(encoding.ids);
    text::StreamDecoder decoder(tokenizer);
    for (const int32_t id : encoding.ids) decoder.push(id);
    decoder.flush();
  }
  for (int32_t id = -1; id < 8; ++id) tokenizer.is_special(id);
}

// Line 1: model. Line 2: pre. Then tokens, each "type score text"; a line "m text" is a merge.
text::VocabSpec read_vocab(std::string_view bytes) {
  text::VocabSpec vocab;
  size_t line = 0;
  while (!bytes.empty()) {
    const size_t end = std::min(bytes.find('\n'), bytes.size());
    const std::string_view text = bytes.substr(0, end);
    bytes.remove_prefix(std::min(end + 1, bytes.size()));
    if (line == 0) {
      vocab.model = text;
    } else if (line == 1) {
      vocab.pre = text;
    } else if (text.starts_with("m ")) {
      vocab.merges.emplace_back(text.substr(2));
    } else if (text.size() >= 2) {
      vocab.types.push_back(text[0] - '0');
      vocab.scores.push_back(static_cast<float>('a' - text[1]));
      vocab.tokens.emplace_back(text.substr(2));
    }
    ++line;
  }
  vocab.bos = 0;
  vocab.add_bos = line % 2 == 0;
  vocab.add_space_prefix = line % 3 == 0;
  vocab.charsmap = vocab.pre;
  return vocab;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    use(data[0] == '{' ? text::Tokenizer::from_json("{" + std::string(bytes), "fuzz")
                       : text::Tokenizer::from_vocab(read_vocab(bytes), "fuzz"));
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kInternal) __builtin_trap();
  }
  return 0;
}
