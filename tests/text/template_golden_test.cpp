// Templates render as transformers renders them (tests/golden/text/make_templates.py).
#include <fstream>

#include "base/files.h"
#include "fixtures.h"
#include "text/chat_template.h"

namespace moxie::text {
namespace {

using Ranges = std::vector<std::pair<int64_t, int64_t>>;

// Renders and compares with the reference's text and ranges, or with its kind of error.
void compare(const Json& expected, const std::string& name, const std::string& source,
             const TemplateTokens& tokens, const Json& context) {
  Json extra = context;
  const Json messages = extra.at("messages");
  const bool prompt = extra.value("add_generation_prompt", false);
  const Json tools = extra.value("tools", Json(nullptr));
  for (const char* key : {"messages", "add_generation_prompt", "tools"}) extra.erase(key);
  try {
    const ChatTemplate chat(source, tokens, "golden");
    const auto rendered = chat.render(messages, prompt, tools, extra);
    if (!expected.contains("text")) {
      ADD_FAILURE() << name << ": the reference refuses, here it is '" << rendered.text << "'";
      return;
    }
    EXPECT_EQ(rendered.text, expected.at("text").get<std::string>()) << name;
    EXPECT_EQ(rendered.generated, expected.at("generated").get<Ranges>()) << name;
  } catch (const Error& error) {
    ASSERT_TRUE(expected.contains("error")) << name << ": " << error.what();
    const bool raised = expected.at("error") == "raised";
    EXPECT_EQ(error.code() == ErrorCode::kInvalidArgument, raised) << name << ": " << error.what();
    if (raised) {
      EXPECT_EQ(error.message(), expected.at("message").get<std::string>()) << name;
    }
  }
}

TEST(TemplateGolden, EveryFeature) {
  const Json file = golden("templates.json");
  size_t seen = 0;
  for (const Json& test : file.at("snippets")) {
    const auto source = test.at("template").get<std::string>();
    compare(test, source, source, {}, file.at("context"));
    ++seen;
  }
  EXPECT_GE(seen, 90u);
}

TEST(TemplateGolden, EveryDialect) {
  const Json file = golden("templates.json");
  size_t seen = 0;
  for (const Json& test : file.at("dialects")) {
    const auto dialect = test.at("dialect").get<std::string>();
    const auto chat = test.at("chat").get<std::string>();
    const auto source = read_file(std::string(MOXIE_SOURCE_DIR) + "/tests/golden/text/dialects/" +
                                  dialect + ".jinja");
    Json context = {{"messages", file.at("chats").at(chat)},
                    {"add_generation_prompt", test.at("prompt")},
                    {"tools", test.at("tools").get<bool>() ? file.at("tools") : Json(nullptr)}};
    compare(test, dialect + " " + chat, source, {"<s>", "</s>", "", ""}, context);
    ++seen;
  }
  EXPECT_GE(seen, 180u);
}

}  // namespace
}  // namespace moxie::text
