// The verbs about Moxie itself: doctor, methods, config, completions, man, and the generated docs.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "app/cli/reference.h"
#include "app/cli/run_binary.h"
#include "app/cli/verb.h"
#include "base/files.h"
#include "base/json.h"
#include "quant/format.h"

namespace moxie::cli {
namespace {

using testing::run_moxie;
using testing::write_temporary;

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(House, DoctorReportsTheMachine) {
  const auto ran = run_moxie({"doctor", "--json"});
  ASSERT_EQ(ran.code, 0) << ran.err;
  const Json found = parse_json(ran.out, "doctor");
  EXPECT_GE(found["cores"].get<int>(), 1);
  EXPECT_GT(found["memory_bytes"].get<uint64_t>(), uint64_t{1} << 20);
  EXPECT_EQ(found["moxie"], version());
  EXPECT_TRUE(has(run_moxie({"doctor"}).out, found["cpu"].get<std::string>()));
  const auto lowered = run_moxie({"doctor", "--json"}, {{"MOXIE_ISA=scalar"}, "", {}});
  EXPECT_EQ(parse_json(lowered.out, "doctor")["isa"], "scalar");
}

TEST(House, MethodsListsEveryRowOfTheTables) {
  const Json found = parse_json(run_moxie({"methods", "--json"}).out, "methods");
  ASSERT_EQ(found["formats"].size(), quant::formats().size());
  ASSERT_GE(found["formats"].size(), 5u);
  EXPECT_EQ(found["formats"][0]["name"], quant::formats()[0].name);
  const auto wrong = run_moxie({"methods", "formts"});
  EXPECT_EQ(wrong.code, 2);
  EXPECT_TRUE(has(wrong.err, "did you mean 'formats'?")) << wrong.err;
}

TEST(House, EveryBuiltInRecipeIsValid) {
  const Json recipes = parse_json(run_moxie({"config", "ls", "--json"}).out, "config");
  ASSERT_GE(recipes.size(), 1u);
  for (const auto& recipe : recipes) {
    const auto ran = run_moxie({"config", "validate", recipe["name"].get<std::string>()});
    EXPECT_EQ(ran.code, 0) << ran.err;
    EXPECT_NE(recipe["summary"], "") << recipe["name"];
  }
}

TEST(House, ConfigCopyDoesNotOverwrite) {
  const Json recipes = parse_json(run_moxie({"config", "ls", "--json"}).out, "config");
  const std::string name = recipes[0]["name"];
  const std::string target = testing::home() + "/copy.yaml";
  ASSERT_EQ(run_moxie({"config", "cp", name, target}).code, 0);
  EXPECT_EQ(read_file(target),
            read_file(std::string(MOXIE_SOURCE_DIR "/examples/recipes/") + name + ".yaml"));
  const auto again = run_moxie({"config", "cp", name, target});
  EXPECT_EQ(again.code, 2);
  EXPECT_TRUE(has(again.err, "is there already")) << again.err;
  const auto unknown = run_moxie({"config", "cp", name + "x"});
  EXPECT_EQ(unknown.code, 1);
  EXPECT_TRUE(has(unknown.err, "did you mean '" + name + "'?")) << unknown.err;
}

TEST(House, CompletionScriptsAreAcceptedByTheirShell) {
  for (const std::string shell : {"bash", "zsh", "fish"}) {
    const auto ran = run_moxie({"completions", shell});
    ASSERT_EQ(ran.code, 0);
    for (const auto& verb : verbs()) EXPECT_TRUE(has(ran.out, std::string(verb.name))) << shell;
    if (std::system(("command -v " + shell + " >/dev/null 2>&1").c_str()) != 0) continue;
    const std::string path = write_temporary("completions." + shell, ran.out);
    EXPECT_EQ(std::system((shell + " -n " + path).c_str()), 0) << shell;
  }
}

TEST(House, BashCompletesVerbsFlagsAndChoices) {
  const std::string script =
      write_temporary("complete.bash", run_moxie({"completions", "bash"}).out);
  const auto complete = [&](const std::string& words, int index) {
    const std::string out = testing::home() + "/completed";
    const std::string command = "bash -c 'source " + script + "; COMP_WORDS=(" + words +
                                "); COMP_CWORD=" + std::to_string(index) +
                                "; _moxie; echo \"${COMPREPLY[@]}\"' > " + out;
    EXPECT_EQ(std::system(command.c_str()), 0);
    return read_file(out);
  };
  EXPECT_EQ(complete("moxie doc", 1), "doctor\n");
  EXPECT_EQ(complete("moxie doctor --off", 2), "--offline\n");
  EXPECT_EQ(complete("moxie completions z", 2), "zsh\n");
}

TEST(House, ManPagesAreAcceptedByGroff) {
  std::vector<std::vector<std::string>> pages = {{"man"}};
  for (const auto& verb : verbs()) pages.push_back({"man", std::string(verb.name)});
  const bool has_groff = std::system("command -v groff >/dev/null 2>&1") == 0;
  for (const auto& page : pages) {
    const auto ran = run_moxie(page);
    ASSERT_EQ(ran.code, 0) << ran.err;
    EXPECT_TRUE(has(ran.out, ".TH MOXIE")) << page.back();
    if (!has_groff) continue;
    const std::string path = write_temporary("page.1", ran.out);
    const std::string log = testing::home() + "/groff.log";
    EXPECT_EQ(std::system(("groff -man -ww -Tutf8 " + path + " >/dev/null 2>" + log).c_str()), 0);
    EXPECT_EQ(read_file(log), "") << page.back();
  }
}

TEST(House, CommandsPageIsTheGeneratedOne) {
  EXPECT_EQ(read_file(MOXIE_SOURCE_DIR "/docs/commands.md"), commands_markdown())
      << "run: moxie man --markdown > docs/commands.md";
}

}  // namespace
}  // namespace moxie::cli
