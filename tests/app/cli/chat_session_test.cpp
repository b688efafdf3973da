// The conversation at a prompt, with a model that answers by rule.
#include "app/cli/chat_session.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <sstream>

#include "app/cli/run_binary.h"
#include "base/files.h"

namespace moxie::cli {
namespace {

class Echo final : public ChatModel {
 public:
  std::string answer(const Json& messages,
                     const std::function<void(std::string_view)>& on_text) override {
    seen = messages;
    const std::string text = prefix + messages.back()["content"].get<std::string>();
    if (text.find("fail") != std::string::npos) fail(ErrorCode::kIo, "echo", "asked to");
    for (const char c : text) on_text(std::string_view(&c, 1));
    return text;
  }
  void use_adapter(const std::string& folder) override {
    prefix = folder.empty() ? "" : folder + ": ";
  }

  Json seen;
  std::string prefix;
};

struct Talk {
  Echo model;
  std::string out, err;
};

Talk talk(const std::string& input, bool is_json = false, bool is_terminal = false) {
  Talk result;
  Context context;
  context.globals.json = is_json;
  context.out.is_terminal = is_terminal;
  std::istringstream in(input);
  std::ostringstream out;
  std::ostringstream err;
  ChatSession(result.model, "Be brief.", context, in, out, err).run();
  result.out = out.str();
  result.err = err.str();
  return result;
}

TEST(ChatSession, KeepsTheConversation) {
  const Talk result = talk("one\n\n  two \n");
  EXPECT_EQ(result.out, "one\ntwo\n");
  EXPECT_EQ(result.err, "");
  ASSERT_EQ(result.model.seen.size(), 4u);
  EXPECT_EQ(result.model.seen[0]["role"], "system");
  EXPECT_EQ(result.model.seen[2]["role"], "assistant");
  EXPECT_EQ(result.model.seen[2]["content"], "one");
  EXPECT_EQ(result.model.seen[3]["content"], "two");
}

TEST(ChatSession, ResetSystemAndAdapter) {
  EXPECT_EQ(talk("one\n/reset\ntwo\n").model.seen.size(), 2u);
  const Talk system = talk("one\n/system Be loud.\ntwo\n");
  ASSERT_EQ(system.model.seen.size(), 2u);
  EXPECT_EQ(system.model.seen[0]["content"], "Be loud.");
  EXPECT_EQ(talk("/system\ntwo\n").model.seen.size(), 1u);
  EXPECT_EQ(talk("/adapter dir\none\n/adapter\ntwo\n").out, "dir: one\ntwo\n");
}

TEST(ChatSession, LongMessagesGoOnAfterABackslash) {
  EXPECT_EQ(talk("one\\\ntwo\n").model.seen.back()["content"], "one\ntwo");
}

TEST(ChatSession, SavesWhatTuneCanRead) {
  const std::string path = testing::home() + "/talk.jsonl";
  talk("one\n/save " + path + "\n/reset\ntwo\n/save " + path + "\n/exit\nthree\n");
  std::istringstream lines(read_file(path));
  std::string line;
  std::getline(lines, line);
  EXPECT_EQ(parse_json(line, "1")["messages"].size(), 3u);
  std::getline(lines, line);
  EXPECT_EQ(parse_json(line, "2")["messages"][1]["content"], "two");
}

TEST(ChatSession, AnswersAsJson) {
  EXPECT_EQ(talk("one\n", true).out, "{\"role\":\"assistant\",\"content\":\"one\"}\n");
}

TEST(ChatSession, ErrorsEndAScriptAndNotAConversation) {
  EXPECT_THROW(talk("/rset\n"), Error);
  const Talk live = talk("/rset\nplease fail\nhello\n", false, true);
  EXPECT_NE(live.err.find("did you mean '/reset'?"), std::string::npos) << live.err;
  EXPECT_NE(live.err.find("asked to"), std::string::npos) << live.err;
  EXPECT_EQ(live.out, "hello\n");
  EXPECT_EQ(live.model.seen.size(), 2u) << "the message that failed is still in the conversation";
}

TEST(ChatSession, TheModelCannotDriveTheTerminal) {
  EXPECT_EQ(talk("\033[2J\n").out, "\\x1b[2J\n");
}

}  // namespace
}  // namespace moxie::cli
