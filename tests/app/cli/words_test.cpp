// The words of the command line: help, mistakes, exit codes, precedence.
#include <gtest/gtest.h>

#include "app/cli/run_binary.h"
#include "app/cli/verb.h"
#include "base/json.h"

namespace moxie::cli {
namespace {

using testing::run_moxie;
using testing::write_temporary;

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Words, BareMoxieNamesEveryVerb) {
  const auto ran = run_moxie({});
  EXPECT_EQ(ran.code, 0);
  EXPECT_EQ(ran.err, "");
  size_t seen = 0;
  for (const auto& verb : verbs()) {
    EXPECT_TRUE(has(ran.out, "  " + std::string(verb.name) + " ")) << verb.name;
    ++seen;
  }
  EXPECT_GE(seen, 6u);
}

TEST(Words, EveryVerbExplainsItself) {
  for (const auto& verb : verbs()) {
    const auto ran = run_moxie({std::string(verb.name), "--help"});
    EXPECT_EQ(ran.code, 0) << verb.name;
    EXPECT_TRUE(has(ran.out, "moxie " + std::string(verb.name))) << verb.name;
    EXPECT_TRUE(has(ran.out, "Examples")) << verb.name;
    EXPECT_TRUE(has(ran.out, "--threads")) << verb.name;
    EXPECT_EQ(ran.err, "") << verb.name;
  }
}

TEST(Words, HelpIsAskedForInSeveralWays) {
  EXPECT_EQ(run_moxie({"help"}).out, run_moxie({}).out);
  EXPECT_EQ(run_moxie({"help", "doctor"}).out, run_moxie({"doctor", "-h"}).out);
  EXPECT_EQ(run_moxie({"help", "doctr"}).code, 2);
}

TEST(Words, PositionalsNameOptionsAndTheRestIsAList) {
  for (const auto& verb : verbs()) {
    const auto call = verb->create();
    const auto options = call->options();
    for (const auto& positional : positionals_of(*verb.entry)) {
      bool is_known = false;
      for (const auto& option : options) {
        if (option.name != positional.name) continue;
        is_known = true;
        EXPECT_TRUE(!positional.takes_rest || type_name(option) == "list") << verb.name;
      }
      EXPECT_TRUE(is_known) << verb.name << " " << positional.name;
    }
  }
}

TEST(Words, ABareVerbThatNeedsMoreShowsExamplesFirst) {
  const auto ran = run_moxie({"config"});
  EXPECT_EQ(ran.code, 2);
  EXPECT_EQ(ran.out, "");
  EXPECT_EQ(ran.err.rfind("Examples", 0), 0u) << ran.err;
}

TEST(Words, UnknownWordsGetASuggestion) {
  const auto verb = run_moxie({"doctr"});
  EXPECT_EQ(verb.code, 2);
  EXPECT_EQ(verb.err, "error: [moxie] there is no verb 'doctr'; did you mean 'doctor'?\n");
  const auto flag = run_moxie({"doctor", "--jsn"});
  EXPECT_EQ(flag.code, 2);
  EXPECT_EQ(flag.err, "error: [doctor] there is no flag --jsn; did you mean --json?\n");
  const auto swapped = run_moxie({"tune", "--rnak", "4"});
  EXPECT_TRUE(has(swapped.err, "did you mean --rank?")) << swapped.err;
  const auto early = run_moxie({"--json", "ls"});
  EXPECT_EQ(early.code, 2);
  EXPECT_TRUE(has(early.err, "flags stand after the verb")) << early.err;
  const auto choice = run_moxie({"completions", "bsh"});
  EXPECT_EQ(choice.code, 2);
  EXPECT_TRUE(has(choice.err, "did you mean 'bash'?")) << choice.err;
}

TEST(Words, WrongValuesNameFlagAndLimits) {
  const auto ran = run_moxie({"doctor", "--threads", "many"});
  EXPECT_EQ(ran.code, 2);
  EXPECT_TRUE(has(ran.err, "--threads") && has(ran.err, "many")) << ran.err;
  const auto above = run_moxie({"doctor", "--threads=99999"});
  EXPECT_EQ(above.code, 2);
  EXPECT_TRUE(has(above.err, "0 to 4096")) << above.err;
  const auto none = run_moxie({"doctor", "--threads"});
  EXPECT_EQ(none.code, 2);
  EXPECT_TRUE(has(none.err, "needs a value")) << none.err;
  const auto extra = run_moxie({"doctor", "please"});
  EXPECT_EQ(extra.code, 2);
  EXPECT_TRUE(has(extra.err, "'please' is one word too many")) << extra.err;
}

TEST(Words, AFlagBeatsItsEnvironmentVariable) {
  const auto from_environment = run_moxie({"doctor", "--json"}, {{"MOXIE_THREADS=1"}, "", {}});
  EXPECT_EQ(parse_json(from_environment.out, "doctor")["threads"], 1);
  const auto from_flag =
      run_moxie({"doctor", "--json", "--threads", "2"}, {{"MOXIE_THREADS=1"}, "", {}});
  EXPECT_EQ(parse_json(from_flag.out, "doctor")["threads"], 2);
  const auto wrong = run_moxie({"doctor"}, {{"MOXIE_JSON=perhaps"}, "", {}});
  EXPECT_EQ(wrong.code, 2);
  EXPECT_TRUE(has(wrong.err, "MOXIE_JSON")) << wrong.err;
  const auto negated = run_moxie({"version", "--no-json"}, {{"MOXIE_JSON=true"}, "", {}});
  EXPECT_EQ(negated.out.rfind("moxie ", 0), 0u) << negated.out;
}

TEST(Words, ColourOnlyOnATerminal) {
  EXPECT_FALSE(has(run_moxie({"doctor"}).out, "\033"));
  EXPECT_FALSE(has(run_moxie({}).out, "\033"));
}

TEST(Words, ControlCharactersOfTheUserDoNotReachTheTerminal) {
  const auto ran = run_moxie({"\033]0;title\007"});
  EXPECT_EQ(ran.code, 2);
  EXPECT_FALSE(has(ran.err, "\033")) << ran.err;
}

TEST(Words, StartsInMilliseconds) {
  double best = 1;
  for (int i = 0; i < 5; ++i) best = std::min(best, run_moxie({"version"}).seconds);
  EXPECT_LT(best, 0.1);
}

}  // namespace
}  // namespace moxie::cli
