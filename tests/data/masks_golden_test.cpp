// Token ids and masks equal TRL's SFTTrainer, token for token (tests/golden/data/make_golden.py).
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "data/encode.h"
#include "data/shape.h"

namespace moxie::data {
namespace {

const std::filesystem::path kGolden = std::filesystem::path(MOXIE_SOURCE_DIR) / "tests/golden/data";

class Masks : public testing::Test {
 protected:
  Encoder encoder(const std::string& name, EncodeOptions options) {
    chat_ = std::make_unique<text::ChatTemplate>(
        golden_["templates"][name].get<std::string>(),
        text::TemplateTokens{.bos = "<s>", .eos = "</s>", .pad = "", .unk = ""}, name);
    return Encoder(text_tools(tokenizer_, chat_.get(), "</s>"), std::move(options));
  }
  Json golden_ = read_json_file(kGolden / "masks.json");
  text::Tokenizer tokenizer_ =
      text::Tokenizer::from_json(read_file(kGolden / "tokenizer.json"), "tokenizer.json");
  std::unique_ptr<text::ChatTemplate> chat_;
};

std::string bits(const Sample& sample) {
  std::string text;
  for (const uint8_t bit : sample.is_learnt) text += bit ? '1' : '0';
  return text;
}

TEST_F(Masks, EqualTrlTokenForToken) {
  int cases = 0, dropped = 0, partial = 0;
  for (const Json& wanted : golden_["cases"]) {
    const std::string row = wanted["row"], name = wanted["template"], loss_on = wanted["loss_on"];
    SCOPED_TRACE(fmt::format("{} with {}, loss on {}, at most {}", row, name, loss_on,
                             wanted["max_length"].dump()));
    const Record record = to_record(golden_["rows"][row], "", row);
    const auto samples =
        encoder(name, {wanted["max_length"].get<int64_t>(), loss_on}).encode(record);
    ++cases;
    if (wanted.contains("is_dropped")) {
      ++dropped;
      EXPECT_TRUE(samples.empty());
      continue;
    }
    ASSERT_EQ(samples.size(), 1u);
    EXPECT_EQ(samples[0].tokens, wanted["tokens"].get<std::vector<int32_t>>());
    EXPECT_EQ(bits(samples[0]), wanted["is_learnt"].get<std::string>());
    partial += bits(samples[0]).find('0') != std::string::npos;
  }
  EXPECT_EQ(cases, 119);
  EXPECT_EQ(dropped, 15);
  EXPECT_GT(partial, 50);
}

// What TRL does not do: the last turn alone, and the prompt that generation is given.
TEST_F(Masks, CompletionOfAConversationIsItsLastTurn) {
  const Record record = to_record(golden_["rows"]["chat"], "", "row");
  for (const char* name : {"chatml", "marked"}) {
    const Encoder last = encoder(name, {0, "completion"});
    const auto sample = last.encode(record).at(0);
    const Prompt prompt = last.prompt(record);
    EXPECT_EQ(prompt.answer, record.messages[4]["content"]);
    EXPECT_EQ(bits(sample).find('1'), prompt.tokens.size());
    EXPECT_TRUE(std::equal(prompt.tokens.begin(), prompt.tokens.end(), sample.tokens.begin()));
  }
}

}  // namespace
}  // namespace moxie::data
