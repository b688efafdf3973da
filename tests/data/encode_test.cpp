// Masks on templates that are hard to tell apart, errors, cutting and documents. The tokenizer here
// is one token a byte, but for <x> tokens, which are special.
#include "data/encode.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "data/shape.h"

namespace moxie::data {
namespace {

constexpr int32_t kSpecial = 1000;  // and above

text::Encoding encode_bytes(std::string_view text, bool add_special) {
  text::Encoding encoding;
  const auto add = [&](int32_t id, size_t begin, size_t end) {
    encoding.ids.push_back(id);
    encoding.offsets.emplace_back(begin, end);
  };
  if (add_special) add(kSpecial, 0, 0);
  for (size_t i = 0; i < text.size(); ++i) {
    const size_t close = text[i] == '<' ? text.find('>', i) : std::string_view::npos;
    if (close != std::string_view::npos) {
      add(kSpecial + text[i + 1], i, close + 1);
      i = close;
    } else {
      add(static_cast<unsigned char>(text[i]), i, i + 1);
    }
  }
  return encoding;
}

using Render = decltype(TextTools::render);

TextTools tools_of(Render render) {
  return {encode_bytes, std::move(render), [](int32_t id) { return id >= kSpecial; }, "<e>"};
}

// The text of a sample with what is learnt in brackets.
std::string shown(const Sample& sample) {
  std::string text;
  bool is_open = false;
  for (size_t t = 0; t <= sample.tokens.size(); ++t) {
    const bool is_learnt = t < sample.tokens.size() && sample.is_learnt[t];
    if (is_learnt != is_open) text += is_learnt ? '[' : ']';
    is_open = is_learnt;
    if (t == sample.tokens.size()) break;
    const int32_t id = sample.tokens[t];
    if (id == kSpecial) text += "<>";
    if (id < kSpecial) text += static_cast<char>(id);
    if (id > kSpecial) text += std::string{'<', static_cast<char>(id - kSpecial), '>'};
  }
  return text;
}

std::string shown(const std::string& row, Render render, EncodeOptions options = {0, "auto"}) {
  const auto samples = Encoder(tools_of(std::move(render)), options)
                           .encode(to_record(parse_json(row, "row"), "", "d.jsonl:7"));
  std::string text;
  for (const Sample& sample : samples) text += (text.empty() ? "" : " | ") + shown(sample);
  return text;
}

std::string error_of(const std::string& row, Render render, EncodeOptions options = {0, "auto"}) {
  try {
    return "no error, but " + shown(row, std::move(render), options);
  } catch (const Error& error) {
    return error.what();
  }
}

constexpr const char* kChat =
    R"({"messages": [{"role": "user", "content": "u1"}, {"role": "assistant", "content": "a1"}, )"
    R"({"role": "user", "content": "u2"}, {"role": "assistant", "content": "a2"}]})";

std::string words(const Json& message) {
  return message["content"].get<std::string>();
}

// Turn by turn: <u>...<e> and <a>...<e>.
text::RenderedChat plain(const Json& messages, bool add_generation_prompt, const Json&,
                         const Json&) {
  std::string text;
  for (const Json& turn : messages) {
    text += (turn["role"] == "user" ? "<u>" : "<a>") + words(turn) + "<e>\n";
  }
  return {text + (add_generation_prompt ? "<a>" : ""), {}};
}

TEST(Encode, LearnsEveryAssistantTurnWithItsEnd) {
  EXPECT_EQ(shown(kChat, plain), "<u>u1<e>\n<a>[a1<e>\n]<u>u2<e>\n<a>[a2<e>\n]");
  EXPECT_EQ(shown(kChat, plain, {0, "completion"}), "<u>u1<e>\n<a>a1<e>\n<u>u2<e>\n<a>[a2<e>\n]");
  EXPECT_EQ(shown(kChat, plain, {0, "all"}), "[<u>u1<e>\n<a>a1<e>\n<u>u2<e>\n<a>a2<e>\n]");
}

// The thoughts of the last turn are shown, those of earlier ones are not (Qwen3).
text::RenderedChat thinking(const Json& messages, bool add_generation_prompt, const Json&,
                            const Json&) {
  std::string text;
  for (size_t i = 0; i < messages.size(); ++i) {
    const bool is_user = messages[i]["role"] == "user";
    text += is_user ? "<u>" : i + 1 == messages.size() ? "<a>(think)" : "<a>";
    text += words(messages[i]) + "<e>\n";
  }
  return {text + (add_generation_prompt ? "<a>" : ""), {}};
}

TEST(Encode, FindsTurnsThatLaterTurnsChange) {
  EXPECT_EQ(shown(kChat, thinking), "<u>u1<e>\n<a>[a1<e>]\n<u>u2<e>\n<a>[(think)a2<e>\n]");
}

TEST(Encode, StartsWhereAnOpenedThoughtIsNotInTheConversation) {
  const Render open_thought = [](const Json& messages, bool add, const Json& t, const Json& e) {
    auto chat = plain(messages, false, t, e);
    if (add) chat.text += "<a><t>";
    return chat;
  };
  EXPECT_EQ(shown(kChat, open_thought), "<u>u1<e>\n<a>[a1<e>\n]<u>u2<e>\n<a>[a2<e>\n]");
}

TEST(Encode, AcceptsTemplatesThatRefusePartsOfAConversation) {
  const Render strict = [](const Json& messages, bool add, const Json& t, const Json& e) {
    if (messages.size() % 2 == 0 && messages.size() < 4) {
      fail(ErrorCode::kInvalidArgument, "chat template", "the conversation must end with the user");
    }
    return plain(messages, add, t, e);
  };
  EXPECT_EQ(shown(kChat, strict), "<u>u1<e>\n<a>[a1<e>]\n<u>u2<e>\n<a>[a2<e>\n]");
}

TEST(Encode, RefusesTemplatesInWhichTurnsCannotBeFound) {
  const Render reversed = [](const Json& messages, bool add, const Json& t, const Json& e) {
    Json turned = Json::array();
    for (size_t i = messages.size(); i-- > 0;) turned.push_back(messages[i]);
    turned.push_back(Json{{"role", "user"}, {"content", words(messages.back())}});
    return plain(turned, add, t, e);
  };
  const std::string error = error_of(kChat, reversed);
  EXPECT_NE(error.find("[d.jsonl:7]"), std::string::npos) << error;
  EXPECT_NE(error.find("loss_on all"), std::string::npos) << error;
}

TEST(Encode, TrustsGenerationBlocks) {
  const Render blocks = [](const Json&, bool, const Json&, const Json&) {
    return text::RenderedChat{"abcdef", {{1, 2}, {4, 6}}};
  };
  EXPECT_EQ(shown(kChat, blocks), "a[b]cd[ef]");
}

TEST(Encode, PassesToolsAndTemplateArguments) {
  const Render echo = [](const Json& messages, bool add, const Json& tools, const Json& extra) {
    auto chat = plain(messages, add, tools, extra);
    chat.text = tools.dump() + extra.dump() + chat.text;
    return chat;
  };
  EXPECT_EQ(shown(R"({"messages": [{"role": "user", "content": "u"}, {"role": "assistant", )"
                  R"("content": "a"}], "tools": "[1]", "chat_template_kwargs": {"k": 2}})",
                  echo),
            "[1]{\"k\":2}<u>u<e>\n<a>[a<e>\n]");
}

TEST(Encode, AddsTheEndOnceAndLearnsCompletions) {
  EXPECT_EQ(shown(R"({"text": "ab"})", {}), "[<>ab<e>]");
  EXPECT_EQ(shown(R"({"text": "ab<e>"})", {}), "[<>ab<e>]");
  EXPECT_EQ(shown(R"({"prompt": "p", "completion": "c"})", {}), "<>p[c<e>]");
  EXPECT_EQ(shown(R"({"prompt": "p", "completion": "c"})", {}, {0, "all"}), "[<>pc<e>]");
  EXPECT_EQ(shown(R"({"prompt": [{"role": "user", "content": "u"}], "completion": )"
                  R"([{"role": "assistant", "content": "a"}]})",
                  plain),
            "<u>u<e>\n<a>[a<e>\n]");
}

TEST(Encode, CutsTheEndAndDropsWhatTeachesNothing) {
  const Encoder encoder(tools_of(plain), {5, "auto"});
  const auto cut = encoder.encode(
      to_record(parse_json(R"({"prompt": "pqr", "completion": "cd"})", "row"), "", "row"));
  ASSERT_EQ(cut.size(), 1u);
  EXPECT_EQ(shown(cut[0]), "<>pqr[c]");
  EXPECT_EQ(cut[0].cut, 2);
  EXPECT_EQ(cut[0].learnt_count(), 1);
  EXPECT_EQ(shown(kChat, plain, {5, "auto"}), "");
}

TEST(Encode, SplitsDocumentsInsteadOfCutting) {
  Record record = to_record(parse_json(R"({"text": "abcdefg"})", "row"), "", "row");
  record.is_document = true;
  const auto pieces = Encoder(tools_of({}), {4, "auto"}).encode(record);
  ASSERT_EQ(pieces.size(), 2u);  // the ninth token alone would teach nothing
  EXPECT_EQ(shown(pieces[0]), "[<>abc]");
  EXPECT_EQ(shown(pieces[1]), "[defg]");
  EXPECT_EQ(pieces[1].learnt_count(), 3);
}

TEST(Encode, ErrorsSayWhatToDo) {
  const auto says = [](const std::string& error, const char* part) {
    EXPECT_NE(error.find(part), std::string::npos) << error;
  };
  says(error_of(kChat, {}), "no chat template");
  says(error_of(R"({"messages": [{"role": "user", "content": "u"}]})", plain),
       "no assistant turn to learn");
  says(error_of(R"({"text": "t"})", plain, {0, "completion"}), "plain text");
  says(error_of(R"({"text": "t"})", plain, {0, "some"}), "loss_on");
  says(error_of(R"({"text": "t"})", plain, {-1, "auto"}), "max_length");
  const Render refusing = [](const Json&, bool, const Json&, const Json&) -> text::RenderedChat {
    fail(ErrorCode::kInvalidArgument, "chat template", "no system role");
  };
  says(error_of(kChat, refusing), "[d.jsonl:7] the chat template refuses");
  says(error_of(kChat, refusing), "no system role");
}

TEST(Encode, WarnsOfTemplatesThatDoNotTeachToStop) {
  EXPECT_EQ(Encoder(tools_of(plain)).template_warning(), "");
  const Render endless = [](const Json& messages, bool add, const Json&, const Json&) {
    std::string text;
    for (const Json& turn : messages) {
      text += (turn["role"] == "user" ? "<u>" : "<a>") + words(turn);
    }
    return text::RenderedChat{text + (add ? "<a>" : ""), {}};
  };
  EXPECT_NE(Encoder(tools_of(endless)).template_warning().find("stop"), std::string::npos);
}

TEST(Encode, PromptIsAllBeforeTheAnswer) {
  const Encoder encoder(tools_of(plain));
  const auto prompt = encoder.prompt(to_record(parse_json(kChat, "row"), "", "row"));
  EXPECT_EQ(prompt.text, "<u>u1<e>\n<a>a1<e>\n<u>u2<e>\n<a>");
  EXPECT_EQ(prompt.answer, "a2");
  const auto plain_prompt = encoder.prompt(
      to_record(parse_json(R"({"prompt": "p", "completion": "c"})", "row"), "", "row"));
  EXPECT_EQ(plain_prompt.tokens, (std::vector<int32_t>{kSpecial, 'p'}));
  EXPECT_EQ(plain_prompt.answer, "c");
  EXPECT_THROW(encoder.prompt(to_record(parse_json(R"({"text": "t"})", "row"), "", "row")), Error);
}

}  // namespace
}  // namespace moxie::data
