// Crafted vocabularies and tokenizer files (rule T1): a typed error each, never an abort.
#include <chrono>
#include <cmath>

#include "fixtures.h"

namespace moxie::text {
namespace {

Tokenizer build(VocabSpec vocab) {
  return Tokenizer::from_vocab(vocab, "crafted");
}

TEST(HostileVocabulary, UnknownPreTokenizerIsNamed) {
  auto vocab = byte_vocab();
  vocab.pre = "martian-bpe";
  expect_error(ErrorCode::kUnsupported, "'martian-bpe'", [&] { build(vocab); });
  vocab.model = "martian";
  expect_error(ErrorCode::kUnsupported, "'martian'", [&] { build(vocab); });
}

TEST(HostileVocabulary, TokensAreUnique) {
  auto vocab = byte_vocab();
  vocab.tokens[20] = vocab.tokens[30];
  expect_error(ErrorCode::kCorruptData, "two ids, 20 and 30", [&] { build(vocab); });
}

TEST(HostileVocabulary, MergesResolve) {
  auto vocab = byte_vocab();
  vocab.merges.push_back("qqq zzz");
  expect_error(ErrorCode::kCorruptData, "qqq", [&] { build(vocab); });
  vocab.merges.back() = "onepart";
  expect_error(ErrorCode::kCorruptData, "\"onepart\"", [&] { build(vocab); });
  vocab.merges.back() = "";
  expect_error(ErrorCode::kCorruptData, "two parts", [&] { build(vocab); });
  vocab.merges.back() = std::string(100000, 'a') + " " + std::string(100000, 'a');
  expect_error(ErrorCode::kCorruptData, "aaa", [&] { build(vocab); });
}

TEST(HostileVocabulary, IdsAreInRange) {
  auto vocab = byte_vocab();
  vocab.eos = static_cast<int32_t>(vocab.tokens.size());
  expect_error(ErrorCode::kCorruptData, "eos", [&] { build(vocab); });
  vocab = byte_vocab();
  vocab.bos.reset();
  vocab.add_bos = true;
  expect_error(ErrorCode::kCorruptData, "bos", [&] { build(vocab); });
}

TEST(HostileVocabulary, LengthsAgree) {
  auto vocab = byte_vocab();
  vocab.types.pop_back();
  expect_error(ErrorCode::kCorruptData, "token types", [&] { build(vocab); });
  vocab = byte_vocab();
  vocab.scores = {1.0f};
  expect_error(ErrorCode::kCorruptData, "scores", [&] { build(vocab); });
  expect_error(ErrorCode::kCorruptData, "no tokens", [] {
    VocabSpec empty;
    empty.model = "llama";
    build(empty);
  });
}

TEST(HostileVocabulary, TokensAreUtf8AndScoresAreNumbers) {
  auto vocab = byte_vocab();
  vocab.tokens[300] = "\xC3\x28";
  expect_error(ErrorCode::kCorruptData, "token 300 is not UTF-8", [&] { build(vocab); });
  vocab = vocab_of(golden("tokenizers.json").at("vocabs").at("bpe"));
  vocab.scores[5] = std::nanf("");
  expect_error(ErrorCode::kCorruptData, "token 5", [&] { build(vocab); });
  vocab.scores[5] = 0.0f;
  vocab.tokens[400] = std::string(4096, 'a');
  expect_error(ErrorCode::kCorruptData, "4096 bytes", [&] { build(vocab); });
}

// The library below reserves what the map's first number says.
TEST(HostileVocabulary, TheMapOfCharactersIsAsLongAsItClaims) {
  auto vocab = vocab_of(golden("tokenizers.json").at("vocabs").at("unigram"));
  vocab.model = "t5";
  vocab.charsmap = std::string("\xFC\xFF\xFF\xFF\0\0\0\0", 8);
  expect_error(ErrorCode::kCorruptData, "claims a trie of 4294967292", [&] { build(vocab); });
  vocab.charsmap = "ab";
  expect_error(ErrorCode::kCorruptData, "has 2 bytes", [&] { build(vocab); });
}

void refuse(const std::string& json, const std::string& part) {
  expect_error(ErrorCode::kCorruptData, part, [&] { Tokenizer::from_json(json, "crafted"); });
}

std::string with_model(const std::string& model, const std::string& more = "") {
  return R"({"version":"1.0","added_tokens":[)" + more +
         R"(],"normalizer":null,"pre_tokenizer":null,"post_processor":null,"decoder":null,"model":)" +
         model + "}";
}

const std::string kBpe = R"({"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]})";

TEST(HostileTokenizerFile, IsReadWhenItIsGood) {
  EXPECT_EQ(Tokenizer::from_json(with_model(kBpe), "good").encode("ab").ids,
            (std::vector<int32_t>{2}));
}

TEST(HostileTokenizerFile, RefusesWhatIsNotOne) {
  refuse("", "EOF");
  refuse("[1, 2]", "");
  refuse("{}", "");
  refuse("\xFF{}", "UTF-8");
  refuse(std::string(100000, '['), "");
  refuse(with_model(R"({"type":"Oracle","vocab":{}})"), "");
  refuse(with_model(kBpe).substr(0, 150), "");
}

TEST(HostileTokenizerFile, IdsAreUniqueAndBelowTheLimit) {
  refuse(with_model(R"({"type":"BPE","vocab":{"a":0,"b":0},"merges":[]})"), "two tokens");
  refuse(with_model(R"({"type":"BPE","vocab":{"a":4294967295},"merges":[]})"), "4294967295");
  refuse(with_model(R"({"type":"BPE","vocab":{"a":-1},"merges":[]})"), "");
}

TEST(HostileTokenizerFile, MergesResolve) {
  refuse(with_model(R"({"type":"BPE","vocab":{"a":0,"b":1},"merges":["a b"]})"),
         "inconsistent data");
  refuse(with_model(R"({"type":"BPE","vocab":{"a":0},"merges":["a"]})"), "");
}

TEST(HostileTokenizerFile, AddedTokensHaveTheIdsTheyClaim) {
  const std::string claim =
      R"({"id":7,"content":"<x>","single_word":false,"lstrip":false,"rstrip":false,)"
      R"("normalized":false,"special":true})";
  refuse(with_model(kBpe, claim), "claims id 7");
}

TEST(HostileTokenizerFile, RegularExpressionsAreBounded) {
  const auto split = [](const std::string& pattern) {
    Json file = parse_json(with_model(kBpe), "test");
    file["pre_tokenizer"] = {{"type", "Split"},
                             {"pattern", {{"Regex", pattern}}},
                             {"behavior", "Isolated"},
                             {"invert", false}};
    return file.dump();
  };
  refuse(split(std::string(101, '(') + std::string(101, ')')), "nests deeper");
  refuse(split(std::string(20000, 'a')), "20000 bytes");
  refuse(split("(unclosed"), "");
  // Backtracks without end in a naive matcher: the engine gives up, and that is an error as well.
  const auto tokenizer = Tokenizer::from_json(split("(a+)+$"), "test");
  const auto start = std::chrono::steady_clock::now();
  try {
    tokenizer.encode(std::string(40, 'a') + "b");
  } catch (const Error&) {
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));
}

}  // namespace
}  // namespace moxie::text
