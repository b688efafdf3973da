#include <ctime>

#include "fixtures.h"
#include "text/chat_template.h"

namespace moxie::text {
namespace {

const Json kHello = Json::parse(R"([{"role": "user", "content": "hi"}])");

std::string render(const std::string& source, const Json& messages = kHello) {
  return ChatTemplate(source, {}, "test").render(messages, false).text;
}

TEST(ChatTemplate, TokensThatAreNotSetAreNotDefined) {
  const ChatTemplate chat("{{ bos_token }}{{ eos_token is defined }}{{ tools is none }}",
                          {"<s>", "", "", ""}, "test");
  EXPECT_EQ(chat.render(kHello, false).text, "<s>FalseTrue");
}

TEST(ChatTemplate, ExtraVariablesDoNotReplaceMessages) {
  const ChatTemplate chat("{{ messages[0].content }}{{ x }}{{ add_generation_prompt }}", {},
                          "test");
  const Json extra = {{"messages", Json::array()}, {"x", 1}, {"add_generation_prompt", false}};
  EXPECT_EQ(chat.render(kHello, true, nullptr, extra).text, "hi1True");
}

TEST(ChatTemplate, RaisedMessagesArriveAsTheyAre) {
  expect_error(ErrorCode::kInvalidArgument, "[chat_template] no system role",
               [] { render("{{ raise_exception('no system role') }}"); });
}

TEST(ChatTemplate, ErrorsNameTheirLine) {
  expect_error(ErrorCode::kCorruptData, "chat_template:2", [] { render("a\n{% if %}"); });
  expect_error(ErrorCode::kCorruptData, "chat_template:3", [] { render("a\n\n{{ x.y.z }}"); });
}

TEST(ChatTemplate, GeneratedRangesAreBytes) {
  const ChatTemplate chat(
      "{% for m in messages %}[{% generation %}{{ m.content }}{% endgeneration %}]{% endfor %}", {},
      "test");
  const auto rendered = chat.render(
      Json::parse(R"([{"content": "\u65e5"}, {"content": ""}, {"content": "b"}])"), false);
  EXPECT_EQ(rendered.text, "[\xE6\x97\xA5][][b]");
  using Ranges = std::vector<std::pair<int64_t, int64_t>>;
  EXPECT_EQ(rendered.generated, (Ranges{{1, 4}, {6, 6}, {8, 9}}));
}

TEST(ChatTemplate, ReasoningIsFoundUnderEachName) {
  for (const char* name : {"reasoning_content", "thinking", "reasoning"}) {
    const Json messages = {{{"role", "assistant"}, {name, "why"}}};
    EXPECT_EQ(render("{{ messages[0].thinking }}{{ messages[0].reasoning_content }}", messages),
              "whywhy");
  }
}

TEST(ChatTemplate, KnowsTheDate) {
  const std::time_t before = std::time(nullptr);
  char expected[16];
  std::strftime(expected, sizeof expected, "%d %b %Y", std::localtime(&before));
  const auto text = render("{{ strftime_now('%d %b %Y') }}");
  if (std::time(nullptr) / 60 == before / 60) {
    EXPECT_EQ(text, expected);
  }
  EXPECT_EQ(text.size(), 11u);
}

TEST(ChatTemplate, RefusesMessagesThatAreNotUtf8) {
  const Json messages = {{{"role", "user"}, {"content", "\xFF"}}};
  expect_error(ErrorCode::kInvalidArgument, "UTF-8", [&] { render("x", messages); });
}

TEST(ChatTemplate, CanBeMovedAndUsedTwice) {
  ChatTemplate a("{{ messages|length }}", {}, "test");
  ChatTemplate b = std::move(a);
  a = ChatTemplate("other", {}, "test");
  EXPECT_EQ(b.render(kHello, false).text, "1");
  EXPECT_EQ(b.render(kHello, false).text, "1");
  EXPECT_EQ(b.source(), "{{ messages|length }}");
}

}  // namespace
}  // namespace moxie::text
