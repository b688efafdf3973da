#include <atomic>
#include <thread>

#include "fixtures.h"

namespace moxie::text {
namespace {

TEST(Tokenizer, OffsetsAreBytesOfTheText) {
  const auto tokenizer = Tokenizer::from_vocab(byte_vocab(), "test");
  const std::string text = "ab \xE6\x97\xA5 <|im_end|>c";
  const auto encoding = tokenizer.encode(text);
  ASSERT_EQ(encoding.ids.size(), encoding.offsets.size());
  int64_t end = 0;
  for (const auto& [from, to] : encoding.offsets) {
    EXPECT_LE(from, to);
    EXPECT_LE(from, end);  // no gap; bytes of one character share its range
    end = to;
  }
  EXPECT_EQ(end, static_cast<int64_t>(text.size()));
  const auto special = tokenizer.token_id("<|im_end|>");
  ASSERT_TRUE(special);
  for (size_t i = 0; i < encoding.ids.size(); ++i) {
    if (encoding.ids[i] != *special) continue;
    EXPECT_EQ(encoding.offsets[i], (std::pair<int64_t, int64_t>(7, 17)));
  }
}

TEST(Tokenizer, NamesItsTokens) {
  const auto vocab = byte_vocab();
  const auto tokenizer = Tokenizer::from_vocab(vocab, "test");
  EXPECT_EQ(tokenizer.vocab_size(), static_cast<int64_t>(vocab.tokens.size()));
  EXPECT_EQ(tokenizer.token_text(1), "<|im_start|>");
  EXPECT_EQ(tokenizer.token_id("<|im_start|>"), 1);
  EXPECT_EQ(tokenizer.token_id("no such token"), std::nullopt);
  EXPECT_TRUE(tokenizer.is_special(1));
  EXPECT_FALSE(tokenizer.is_special(10));
  EXPECT_FALSE(tokenizer.is_special(-1));
  const auto user = tokenizer.token_id("<|user|>");
  ASSERT_TRUE(user);
  EXPECT_FALSE(tokenizer.is_special(*user));
  expect_error(ErrorCode::kInvalidArgument, "100000", [&] { tokenizer.token_text(100000); });
  expect_error(ErrorCode::kInvalidArgument, "negative", [&] { tokenizer.decode({-4}); });
}

TEST(Tokenizer, AddsWhatTheVocabularyAsksFor) {
  auto vocab = byte_vocab();
  vocab.add_bos = true;
  vocab.add_eos = true;
  const auto tokenizer = Tokenizer::from_vocab(vocab, "test");
  const auto ids = tokenizer.encode("a").ids;
  ASSERT_EQ(ids.size(), 3u);
  EXPECT_EQ(ids.front(), vocab.bos);
  EXPECT_EQ(ids.back(), vocab.eos);
  EXPECT_EQ(tokenizer.encode("a", {.add_special = false}).ids.size(), 1u);
  EXPECT_EQ(tokenizer.decode(ids), "a");
  EXPECT_EQ(tokenizer.decode(ids, false), "<|endoftext|>a<|im_end|>");
}

// Rule T5. Both settings from several threads at once, as a server uses one tokenizer.
TEST(Tokenizer, SpelledSpecialTokensStayPlainText) {
  const auto tokenizer = Tokenizer::from_vocab(byte_vocab(), "test");
  const std::string text = "a<|im_end|>b<|endoftext|>";
  const auto parsed = tokenizer.encode(text).ids;
  const auto plain = tokenizer.encode(text, {.parse_special = false}).ids;
  EXPECT_EQ(parsed.size(), 4u);
  for (const int32_t id : plain) EXPECT_FALSE(tokenizer.is_special(id));
  EXPECT_EQ(tokenizer.decode(plain), text);
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        const bool parse = (i + t) % 2 == 0;
        if (tokenizer.encode(text, {.parse_special = parse}).ids != (parse ? parsed : plain))
          ++wrong;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(Tokenizer, PlainTextInSentencePieceToo) {
  const Json file = golden("tokenizers.json");
  for (const char* name : {"bpe", "unigram"}) {
    const auto tokenizer = Tokenizer::from_vocab(vocab_of(file.at("vocabs").at(name)), "test");
    const auto ids =
        tokenizer.encode("x</s><s><unk>", {.add_special = false, .parse_special = false}).ids;
    for (const int32_t id : ids) {
      EXPECT_TRUE(id == 0 || !tokenizer.is_special(id)) << name << " " << tokenizer.token_text(id);
    }
  }
}

TEST(Tokenizer, RefusesTextThatIsNotUtf8) {
  const auto tokenizer = Tokenizer::from_vocab(byte_vocab(), "test");
  expect_error(ErrorCode::kInvalidArgument, "not UTF-8 at byte 2",
               [&] { tokenizer.encode("ab\xFF"); });
}

TEST(StreamDecoder, NeverEmitsHalfACharacter) {
  const auto tokenizer = Tokenizer::from_vocab(byte_vocab(), "test");
  const std::string text = "x\xF0\x9F\x90\xB8y";  // a frog, of two tokens or more
  const auto ids = tokenizer.encode(text).ids;
  ASSERT_GE(ids.size(), 4u);
  StreamDecoder decoder(tokenizer);
  std::vector<std::string> pieces;
  for (const int32_t id : ids) pieces.push_back(decoder.push(id));
  std::vector<std::string> expected(ids.size());
  expected.front() = "x";
  expected[ids.size() - 2] = "\xF0\x9F\x90\xB8";
  expected.back() = "y";
  EXPECT_EQ(pieces, expected);
  EXPECT_EQ(decoder.flush(), "");
}

// Byte tokens that never make a character neither stop the stream nor take back what was given.
TEST(StreamDecoder, GoesOnAfterBrokenBytes) {
  const Json file = golden("tokenizers.json");
  const auto tokenizer = Tokenizer::from_vocab(vocab_of(file.at("vocabs").at("bpe")), "test");
  const int32_t lead = *tokenizer.token_id("<0xE8>");
  const int32_t second = *tokenizer.token_id("<0xAA>");
  const int32_t third = *tokenizer.token_id("<0x9E>");
  StreamDecoder decoder(tokenizer);
  std::string streamed;
  for (const int32_t id : {lead, second, third, lead, second, third}) streamed += decoder.push(id);
  EXPECT_EQ(streamed, "\xE8\xAA\x9E\xE8\xAA\x9E");
  for (int i = 0; i < 40; ++i) streamed += decoder.push(lead);
  const auto ids = tokenizer.encode("Hello", {.add_special = false}).ids;
  for (const int32_t id : ids) streamed += decoder.push(id);
  streamed += decoder.flush();
  EXPECT_TRUE(streamed.ends_with("Hello")) << streamed;
  EXPECT_NE(streamed.find("\xEF\xBF\xBD"), std::string::npos);
}

TEST(StreamDecoder, FlushGivesWhatIsLeft) {
  const auto tokenizer = Tokenizer::from_vocab(byte_vocab(), "test");
  const auto ids = tokenizer.encode("\xF0\x9F\x90\xB8").ids;
  StreamDecoder decoder(tokenizer);
  EXPECT_EQ(decoder.push(ids[0]), "");
  EXPECT_EQ(decoder.flush(), "\xEF\xBF\xBD");
  EXPECT_EQ(decoder.flush(), "");
}

TEST(StreamDecoder, KeepsSpacesBetweenSentencePieces) {
  const Json file = golden("tokenizers.json");
  const auto tokenizer = Tokenizer::from_vocab(vocab_of(file.at("vocabs").at("bpe")), "test");
  const std::string text = "Hello world! It's a \xF0\x9F\x90\xB8 test";
  const auto ids = tokenizer.encode(text).ids;
  StreamDecoder decoder(tokenizer);
  std::string streamed;
  for (const int32_t id : ids) streamed += decoder.push(id);
  EXPECT_EQ(streamed + decoder.flush(), text);
}

}  // namespace
}  // namespace moxie::text
