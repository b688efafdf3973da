// Ids equal llama.cpp's for every kind of vocabulary and every pre-tokenizer that is known.
#include "fixtures.h"

namespace moxie::text {
namespace {

std::optional<bool> flag(const Json& settings, const char* name) {
  if (!settings.contains(name)) return std::nullopt;
  return settings.at(name).get<bool>();
}

TEST(TokenizerGolden, IdsEqualLlamaCpp) {
  const Json file = golden("tokenizers.json");
  const auto texts = file.at("texts").get<std::vector<std::string>>();
  size_t tokenizers = 0, ids = 0;
  for (const Json& test : file.at("cases")) {
    VocabSpec vocab = vocab_of(file.at("vocabs").at(test.at("vocab").get<std::string>()));
    const Json& settings = test.at("settings");
    vocab.add_bos = flag(settings, "add_bos");
    vocab.add_eos = flag(settings, "add_eos");
    vocab.add_space_prefix = flag(settings, "add_space_prefix");
    vocab.remove_extra_whitespaces = flag(settings, "remove_extra_whitespaces");
    auto pres = test.at("pres").get<std::vector<std::string>>();
    if (pres.empty()) pres.emplace_back();
    for (const auto& pre : pres) {
      vocab.pre = pre;
      const auto tokenizer = Tokenizer::from_vocab(vocab, "golden");
      ++tokenizers;
      for (size_t i = 0; i < texts.size(); ++i) {
        if (test.at("ids").at(i).is_null()) continue;  // llama.cpp departs from the original there
        const auto encoding = tokenizer.encode(
            texts[i], {.add_special = true, .parse_special = test.at("parse_special").get<bool>()});
        EXPECT_EQ(encoding.ids, test.at("ids").at(i).get<std::vector<int32_t>>())
            << test.at("vocab") << " '" << pre << "' text " << i;
        ids += encoding.ids.size();
      }
    }
  }
  EXPECT_GE(tokenizers, 60u);
  EXPECT_GE(ids, 20000u);
}

// What a tokenizer from a vocabulary writes as tokenizer.json reads back as the same tokenizer.
TEST(TokenizerGolden, JsonRoundTrip) {
  const Json file = golden("tokenizers.json");
  for (const auto& [name, entry] : file.at("vocabs").items()) {
    VocabSpec vocab = vocab_of(entry);
    vocab.pre = "llama-bpe";
    vocab.add_bos = true;
    const auto tokenizer = Tokenizer::from_vocab(vocab, "golden");
    const auto again = Tokenizer::from_json(tokenizer.to_json(), "golden");
    EXPECT_EQ(again.vocab_size(), tokenizer.vocab_size());
    for (const Json& text : file.at("texts")) {
      const auto a = tokenizer.encode(text.get<std::string>());
      const auto b = again.encode(text.get<std::string>());
      EXPECT_EQ(a.ids, b.ids) << name;
      EXPECT_EQ(a.offsets, b.offsets) << name;
      EXPECT_EQ(tokenizer.decode(a.ids), again.decode(a.ids)) << name;
    }
  }
}

// Byte-level ids lose nothing: decoding gives the text back, and so does streaming them one by one.
TEST(TokenizerGolden, DecodingInvertsEncoding) {
  const Json file = golden("tokenizers.json");
  const auto tokenizer = Tokenizer::from_vocab(byte_vocab(), "golden");
  for (const Json& entry : file.at("texts")) {
    const auto text = entry.get<std::string>();
    const auto ids = tokenizer.encode(text).ids;
    EXPECT_EQ(tokenizer.decode(ids, false), text);
    StreamDecoder decoder(tokenizer);
    std::string streamed;
    for (const int32_t id : ids) streamed += decoder.push(id);
    streamed += decoder.flush();
    EXPECT_EQ(streamed, tokenizer.decode(ids));
  }
}

}  // namespace
}  // namespace moxie::text
