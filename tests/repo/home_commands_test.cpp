// The example data: enough of it, one fixed schema, held-out combinations that training lacks, and
// files that are what their generator writes.
#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "repo/repo_files.h"

namespace moxie::repo {
namespace {

using Json = nlohmann::ordered_json;

struct Command {
  std::string sentence, device, room, set;
};

std::vector<Command> read_commands(const std::string& name) {
  const std::filesystem::path folder =
      std::filesystem::path(MOXIE_SOURCE_DIR) / "examples/home-commands";
  std::vector<Command> commands;
  for (const std::string& line : split_lines(read_text(folder / name))) {
    const Json messages = Json::parse(line).at("messages");
    EXPECT_EQ(messages.size(), 3u) << line;
    EXPECT_EQ(messages.at(0).at("role"), "system") << line;
    EXPECT_EQ(messages.at(1).at("role"), "user") << line;
    EXPECT_EQ(messages.at(2).at("role"), "assistant") << line;
    const std::string text = messages.at(2).at("content");
    const Json answer = Json::parse(text);
    // Compact, and the keys in one order: exact match compares bytes.
    EXPECT_EQ(answer.dump(), text);
    std::vector<std::string> keys;
    for (const auto& [key, value] : answer.items()) keys.push_back(key);
    EXPECT_EQ(keys, (std::vector<std::string>{"device", "room", "set"})) << line;
    EXPECT_TRUE(answer.at("set").is_string() || answer.at("set").is_number_integer()) << line;
    commands.push_back({messages.at(1).at("content"), answer.at("device"), answer.at("room"),
                        answer.at("set").dump()});
  }
  return commands;
}

TEST(HomeCommands, ThereAreEnoughAndNoneTwice) {
  std::set<std::string> sentences;
  const auto train = read_commands("train.jsonl");
  const auto heldout = read_commands("heldout.jsonl");
  EXPECT_GE(train.size(), 640u);
  EXPECT_GE(heldout.size(), 160u);
  for (const auto& part : {train, heldout}) {
    for (const Command& command : part) {
      EXPECT_TRUE(sentences.insert(command.sentence).second) << command.sentence;
    }
  }
}

TEST(HomeCommands, HeldOutCombinationsAreNew) {
  std::set<std::tuple<std::string, std::string, std::string>> known;
  for (const Command& c : read_commands("train.jsonl")) known.insert({c.device, c.room, c.set});
  for (const Command& c : read_commands("heldout.jsonl")) {
    EXPECT_EQ(known.count({c.device, c.room, c.set}), 0u) << c.sentence;
  }
}

// The generator asserts what the files alone do not show: that no held-out phrasing is in training.
TEST(HomeCommands, FilesAreWhatTheirGeneratorWrites) {
  if (std::system("python3 -c pass 2>/dev/null") != 0) GTEST_SKIP() << "python3 is not there";
  const std::string script =
      std::string(MOXIE_SOURCE_DIR) + "/examples/home-commands/make.py --check";
  EXPECT_EQ(std::system(("PYTHONDONTWRITEBYTECODE=1 python3 " + script).c_str()), 0);
}

}  // namespace
}  // namespace moxie::repo
