// A tokenizer as the vocabulary of a GGUF file, and back: the ids stay, or the tokenizer is refused
// with the way out.
#include "text/vocab_of.h"

#include <set>

#include "fixtures.h"

namespace moxie::text {
namespace {

VocabSpec spec_of(const Tokenizer& tokenizer, SpecialIds ids = {}, int64_t more_rows = 0) {
  const int64_t rows = tokenizer.vocab_size() + more_rows;
  return vocab_of(tokenizer, rows, ids, telling_texts(tokenizer, rows), "model");
}

void expect_back(const VocabSpec& vocab, const Json& texts, const std::string& name) {
  // By way of its tokenizer.json, which is what a folder has.
  const auto source =
      Tokenizer::from_json(Tokenizer::from_vocab(vocab, name).to_json(), "tokenizer.json");
  const VocabSpec spec = spec_of(source, {vocab.bos, vocab.eos, vocab.pad});
  EXPECT_EQ(spec.model, vocab.model) << name;
  EXPECT_EQ(spec.tokens.size(), vocab.tokens.size()) << name;
  // A unigram tokenizer.json does not fall back on bytes, so that they are tokens like others
  // there.
  if (vocab.model != "t5") {
    EXPECT_EQ(spec.types, vocab.types) << name;
  }
  const auto again = Tokenizer::from_vocab(spec, name);
  for (const Json& entry : texts) {
    const auto text = entry.get<std::string>();
    EXPECT_EQ(again.encode(text).ids, source.encode(text).ids) << name << ": " << text;
  }
}

TEST(VocabOf, EveryKindAndEveryPreTokenizerComesBack) {
  const Json file = golden("tokenizers.json");
  std::set<std::string> pres;
  size_t cases = 0;
  for (const Json& test : file.at("cases")) {
    VocabSpec vocab = vocab_of(file.at("vocabs").at(test.at("vocab").get<std::string>()));
    const Json& settings = test.at("settings");
    vocab.add_bos = settings.at("add_bos").get<bool>();
    vocab.add_eos = settings.at("add_eos").get<bool>();
    if (settings.contains("add_space_prefix"))
      vocab.add_space_prefix = settings.at("add_space_prefix").get<bool>();
    if (settings.contains("remove_extra_whitespaces"))
      vocab.remove_extra_whitespaces = settings.at("remove_extra_whitespaces").get<bool>();
    const auto names = test.at("pres").get<std::vector<std::string>>();
    vocab.pre = names.empty() ? "" : names.front();
    pres.insert(vocab.pre);
    expect_back(vocab, file.at("texts"), test.at("vocab").get<std::string>() + " " + vocab.pre);
    ++cases;
  }
  EXPECT_EQ(cases, file.at("cases").size());
  EXPECT_GE(pres.size(), 15u);
}

TEST(VocabOf, FillsTheRowsThatHaveNoToken) {
  const auto tokenizer = Tokenizer::from_vocab(byte_vocab(), "golden");
  const VocabSpec spec = spec_of(tokenizer, {}, 24);
  const auto size = static_cast<size_t>(tokenizer.vocab_size());
  ASSERT_EQ(spec.tokens.size(), size + 24);
  EXPECT_EQ(spec.tokens.back(), "[PAD" + std::to_string(size + 23) + "]");
  EXPECT_EQ(spec.types.back(), 5);
}

TEST(VocabOf, AddedTokensBeyondTheRowsAreLeftOut) {
  Json json = parse_json(Tokenizer::from_vocab(byte_vocab(), "golden").to_json(), "golden");
  const auto size = json.at("model").at("vocab").size();
  Json token = json.at("added_tokens").at(0);
  token["id"] = size;
  token["content"] = "<image>";
  json["added_tokens"].push_back(token);
  const auto tokenizer = Tokenizer::from_json(json.dump(), "golden");
  const auto rows = static_cast<int64_t>(size);
  EXPECT_EQ(vocab_of(tokenizer, rows, {}, telling_texts(tokenizer, rows), "m").tokens.size(), size);
  expect_error(ErrorCode::kUnsupported, "its embeddings have",
               [&] { vocab_of(tokenizer, rows - 1, {}, telling_texts(tokenizer, rows - 1), "m"); });
}

struct Refusal {
  const char* change;  // merged into the tokenizer.json of the byte-level vocabulary
  const char* message;
};

TEST(VocabOf, RefusesWhatAFileCannotHold) {
  const Refusal refusals[] = {
      {R"({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"String": "e"}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
             "use_regex": true}]}})",
       "no setting of a GGUF file cuts text"},
      {R"({"normalizer": {"type": "Lowercase"}})", "no setting of a GGUF file cuts text"},
      {R"({"pre_tokenizer": {"type": "Whitespace"}})", "BPE over characters"},
      {R"({"model": {"end_of_word_suffix": "</w>"}})", "a end_of_word_suffix"},
      {R"({"model": {"type": "WordLevel", "unk_token": "<|endoftext|>"}})", "a WordLevel model"},
  };
  const std::string json = Tokenizer::from_vocab(byte_vocab(), "golden").to_json();
  for (const Refusal& refusal : refusals) {
    Json changed = parse_json(json, "golden");
    changed.merge_patch(parse_json(refusal.change, "refusal"));
    const auto tokenizer = Tokenizer::from_json(changed.dump(), "golden");
    expect_error(ErrorCode::kUnsupported, refusal.message, [&] { spec_of(tokenizer); });
    expect_error(ErrorCode::kUnsupported, "export it as hf", [&] { spec_of(tokenizer); });
  }
}

TEST(VocabOf, TheFrameMustBeTheModelsOwnIds) {
  VocabSpec vocab = byte_vocab();
  vocab.add_bos = true;
  const auto tokenizer = Tokenizer::from_vocab(vocab, "golden");
  EXPECT_EQ(spec_of(tokenizer).bos, vocab.bos);
  EXPECT_EQ(spec_of(tokenizer).add_bos, true);
  EXPECT_EQ(spec_of(tokenizer).add_eos, false);
  expect_error(ErrorCode::kUnsupported, "make them agree",
               [&] { spec_of(tokenizer, {.bos = *vocab.bos + 2}); });
}

}  // namespace
}  // namespace moxie::text
