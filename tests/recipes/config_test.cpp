// Recipes: typed by the options, strict about keys, exact in both directions.
#include "recipes/config.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace moxie::recipes {
namespace {

struct Everything {
  bool shuffle = true;
  int64_t rank = 8;
  double lr = 2e-4;
  std::string text = "no";
  std::vector<std::string> data = {"a.jsonl"};
  std::map<std::string, double> ranks;

  void visit(auto& v) {
    v("shuffle", shuffle, "");
    v("rank", rank, "", range(1, 64));
    v("lr", lr, "");
    v("text", text, "");
    v("data", data, "");
    v("ranks", ranks, "");
  }
  bool operator==(const Everything&) const = default;
};

void read_into(std::string_view text, Everything& target) {
  apply_config(text, "r.yaml", "tune", list_options(target));
}

std::string complaint(std::string_view text) {
  Everything target;
  try {
    read_into(text, target);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Config, ValuesAreTypedByTheirOption) {
  Everything target;
  read_into(
      "verb: tune\nshuffle: false\nrank: 16\nlr: 1e-4\ntext: 007\ndata: [a, 'b,c']\nranks: {q.*: "
      "4}\n",
      target);
  EXPECT_FALSE(target.shuffle);
  EXPECT_EQ(target.rank, 16);
  EXPECT_DOUBLE_EQ(target.lr, 1e-4);
  EXPECT_EQ(target.text, "007");
  EXPECT_EQ(target.data, (std::vector<std::string>{"a", "b,c"}));
  EXPECT_EQ(target.ranks.at("q.*"), 4);
}

TEST(Config, WhatIsWrittenReadsBackExactly) {
  Everything source;
  source.lr = 0.1 + 0.2;
  source.text = "a: \"b\"\n\ttrue # x é";
  source.data = {"no", "", "x,y", "- z"};
  source.ranks = {{"layers\\.1\\..*", 0.5}};
  Everything target;
  read_into(config_to_yaml("tune", list_options(source)), target);
  EXPECT_TRUE(target == source) << config_to_yaml("tune", list_options(target));
}

TEST(Config, ANameThatTwoMethodsShareStandsForBoth) {
  Everything first;
  Everything second;
  auto both = list_options(first);
  for (const auto& option : list_options(second)) both.push_back(option);
  apply_config("rank: 3\n", "r.yaml", "tune", both);
  EXPECT_EQ(first.rank, 3);
  EXPECT_EQ(second.rank, 3);
  apply_config(config_to_yaml("tune", both), "r.yaml", "tune", both);
}

TEST(Config, MistakesNameFileLineAndRemedy) {
  EXPECT_EQ(complaint("lr: 1\nrnk: 3\n"), "[r.yaml:2] unknown key 'rnk'; did you mean 'rank'?");
  EXPECT_EQ(complaint("rank: 100\n").rfind("[r.yaml:1]", 0), 0u);
  EXPECT_NE(complaint("rank: 100\n").find("1 to 64"), std::string::npos);
  EXPECT_NE(complaint("rank: many\n").find("many"), std::string::npos);
  EXPECT_NE(complaint("rank: [1, 2]\n").find("one value"), std::string::npos);
  EXPECT_NE(complaint("rank:\n").find("no value"), std::string::npos);
  EXPECT_NE(complaint("rank: 1\nrank: 2\n").find("given twice"), std::string::npos);
  EXPECT_NE(complaint("- a\n- b\n").find("key: value"), std::string::npos);
  EXPECT_NE(complaint("").find("key: value"), std::string::npos);
  EXPECT_NE(complaint("a: [\n").find("not valid YAML"), std::string::npos);
  EXPECT_NE(complaint("text: \xff\n").find("UTF-8"), std::string::npos);
  EXPECT_EQ(complaint("verb: eval\n"),
            "[r.yaml:1] this recipe is for `moxie eval`, not for `moxie tune`");
}

TEST(Config, HostileNestingIsAnErrorOfTheUsualKind) {
  EXPECT_NE(complaint(std::string(100000, '[')), "");
  EXPECT_NE(complaint("rank: " + std::string(100000, '{')), "");
}

TEST(Config, TheVerbIsTuneUnlessNamed) {
  EXPECT_EQ(verb_of_config("lr: 1\n", "r.yaml"), "tune");
  EXPECT_EQ(verb_of_config("verb: eval\n", "r.yaml"), "eval");
}

}  // namespace
}  // namespace moxie::recipes
