// Texts on which two tokenizers that are not the same are likely to differ.
#include <algorithm>

#include "base/json.h"
#include "text/vocab_of.h"

namespace moxie::text {
namespace {

constexpr const char* kTexts[] = {
    "Hello world! It's a test, don't you'll we're I'd THEY'VE She'S o'clock 'tis ''",
    "   leading  spaces\n\n\nnew\r\n\ttabs\t\t mixed \t \n  \n end   ",
    "a  b   c    d     e      f\n \n  x\n\n\n\n\ty \r\n\r\n z\f\v \n",
    "def f(x):\n    return {\"a\": [1, 22, 333, 4444], 'b': x**2 != 3.14e-10}  # note\n\tif "
    "(x<=y){}",
    "0 12 123 1234 12345 1234567 1,000.50 $5 2024-01-31T12:34:56Z v1.2.3 007 a1b22c333",
    "½ ² ٣٤٥ १२ Ⅷ ① €6 x² 10⁻³",
    "Привет, мир! Ελληνικά שלום مرحبا، بك",
    "中文测试，你好！日本語のテスト。한국어 테스트 ひらがなカタカナ漢字123",
    "नमस्ते दुनिया। สวัสดี Tiếng Việt İstanbul Größe Żółć",
    "e\xCC\x81 n\xCC\x83 \xE1\x84\x92\xE1\x85\xA1 \xEF\xAC\x81 \xE2\x84\xAB",  // not in form C
    "😀👍🏽 👨‍👩‍👧 🏳️‍🌈🇩🇪 ❤️ "
    "e\xE2\x80\x8Bz\xC2\xA0n\xE3\x80\x80i\xE2\x80\x83m\xEF\xBB\xBF",
    "!!!???...---===++*** // \\\\ ||~~``^^&&%%$$##@@ “q” ‘s’ «g» – — … 、。",
    "http://example.com/a?b=1&c=%20#d user@example.com C:\\Windows camelCase snake_case SCREAM "
    "XMLHttp",
    "<s> </s><unk> <0x0A>  <|user|>  x <|im_start|>user\nhi<|im_end|>",
    "aaaaaaaaaaaaaaa bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb zzzz\n.\n,word ,word\n/path (a)\"b\"",
    "a                                     b\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\nc",
    "▁x ▁▁ y_▁",
    " ",
    "\n",
    "x",
};
constexpr size_t kSamples = 4096, kAdded = 256, kPerText = 64;

size_t step_for(size_t count, size_t wanted) {
  return std::max<size_t>(1, count / wanted);
}

}  // namespace

std::vector<std::string> telling_texts(const Tokenizer& tokenizer, int64_t rows) {
  std::vector<std::string> texts(std::begin(kTexts), std::end(kTexts));
  const Json json = parse_json(tokenizer.vocabulary_json(), "tokenizer");
  const Json& added = json.at("added");
  for (size_t i = 0; i < added.size(); i += step_for(added.size(), kAdded)) {
    if (added[i].at("id").get<int64_t>() >= rows) continue;
    const auto token = added[i].at("content").get<std::string>();
    texts.push_back("a" + token + "b  " + token + " c\n" + token + "\nd " + token + token);
  }
  const auto count = static_cast<size_t>(std::min(rows, tokenizer.vocab_size()));
  std::string group;
  size_t members = 0;
  for (size_t id = 0; id < count; id += step_for(count, kSamples)) {
    const std::string token = tokenizer.decode({static_cast<int32_t>(id)});
    if (token.find("\xEF\xBF\xBD") != std::string::npos) continue;  // part of a character
    group += token + "\n";
    if (++members % kPerText == 0) texts.push_back(std::exchange(group, {}));
  }
  texts.push_back(group);
  return texts;
}

std::optional<std::string> first_difference(const Tokenizer& a, const Tokenizer& b,
                                            const std::vector<std::string>& texts) {
  for (const auto& text : texts) {
    for (const bool parses : {true, false}) {
      const EncodeOptions options{.add_special = true, .parse_special = parses};
      if (a.encode(text, options).ids != b.encode(text, options).ids) return text;
    }
  }
  return std::nullopt;
}

}  // namespace moxie::text
