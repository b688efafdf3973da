// The verbs about files: inspect, tokenize, ls, rm, runs; on small golden models.
#include <gtest/gtest.h>

#include <sstream>

#include "app/cli/run_binary.h"
#include "base/json.h"
#include "recipes/runs.h"

namespace moxie::cli {
namespace {

using testing::run_moxie;
using testing::write_temporary;

const std::string kGolden = MOXIE_SOURCE_DIR "/tests/golden";
const std::string kBase = kGolden + "/lora_curve/base";

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

Json json_of(const std::vector<std::string>& words) {
  const auto ran = run_moxie(words);
  EXPECT_EQ(ran.code, 0) << ran.err;
  return parse_json(ran.out, words[0]);
}

TEST(Inspect, Gguf) {
  const std::string path = kGolden + "/tiny_gguf/llama.gguf";
  const Json found = json_of({"inspect", path, "--json", "--tensors"});
  EXPECT_EQ(found["kind"], "gguf");
  EXPECT_EQ(found["architecture"], "llama");
  EXPECT_GT(found["parameters"].get<int64_t>(), 1000);
  EXPECT_EQ(found["tensors"].size(), found["tensor_count"]);
  EXPECT_TRUE(found["metadata"].contains("llama.block_count"));
  const auto shown = run_moxie({"inspect", path});
  EXPECT_EQ(shown.code, 0);
  EXPECT_TRUE(has(shown.out, "llama.block_count")) << shown.out;
}

TEST(Inspect, FoldersOfModelsAndAdapters) {
  const Json model = json_of({"inspect", kBase, "--json"});
  EXPECT_EQ(model["kind"], "hugging face model");
  EXPECT_EQ(model["architecture"], model["metadata"]["model_type"]);
  const Json shards = json_of({"inspect", kGolden + "/tiny_models/llama_sharded", "--json"});
  EXPECT_EQ(shards["kind"], "hugging face model");
  const Json adapter = json_of({"inspect", kGolden + "/lora_curve/adapter_final", "--json"});
  EXPECT_EQ(adapter["kind"], "peft adapter");
  EXPECT_EQ(adapter["metadata"]["peft_type"], "LORA");
  const Json file = json_of({"inspect", kBase + "/model.safetensors", "--json"});
  EXPECT_EQ(file["parameters"], model["parameters"]);
}

TEST(Inspect, WhatIsNotAModelIsSaid) {
  const auto missing = run_moxie({"inspect", "/nowhere/at-all"});
  EXPECT_EQ(missing.code, 1);
  EXPECT_TRUE(has(missing.err, "error: [")) << missing.err;
  const auto folder = run_moxie({"inspect", testing::home()});
  EXPECT_EQ(folder.code, 2);
  EXPECT_TRUE(has(folder.err, "adapter_config.json")) << folder.err;
  const auto junk = run_moxie({"inspect", write_temporary("junk.gguf", "GGUFnonsense")});
  EXPECT_EQ(junk.code, 1);
  EXPECT_TRUE(has(junk.err, "junk.gguf")) << junk.err;
}

TEST(Tokenize, TextAndPieces) {
  const Json found = json_of({"tokenize", kBase, "--text", "turn on the light", "--json"});
  ASSERT_GE(found["tokens"].size(), 2u);
  EXPECT_EQ(found["tokens"].size(), found["pieces"].size());
  std::string joined;
  for (const auto& piece : found["pieces"]) joined += piece.get<std::string>();
  EXPECT_TRUE(has(joined, "light")) << joined;
}

TEST(Tokenize, DataShowsWhatIsLearnt) {
  const std::string data = write_temporary(
      "data.jsonl",
      "{\"prompt\": \"turn on\", \"completion\": \" the light\"}\n{\"text\": \"the light\"}\n");
  const auto ran = run_moxie({"tokenize", kBase, "--data", data, "--json"});
  ASSERT_EQ(ran.code, 0) << ran.err;
  std::istringstream lines(ran.out);
  std::string line;
  std::vector<Json> rows;
  while (std::getline(lines, line)) rows.push_back(parse_json(line, "line"));
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0]["learnt"][0], 0);
  EXPECT_EQ(rows[0]["learnt"].back(), 1);
  EXPECT_EQ(rows[1]["learnt"].back(), 1);
  const auto shown = run_moxie({"tokenize", kBase, "--data", data});
  EXPECT_TRUE(has(shown.out, "[[")) << shown.out;
}

TEST(Tokenize, AsksForOneSource) {
  EXPECT_EQ(run_moxie({"tokenize", kBase}).code, 2);
  EXPECT_EQ(run_moxie({"tokenize", kBase, "--text", "a", "--data", "b"}).code, 2);
  const auto wrong =
      run_moxie({"tokenize", kBase, "--data", write_temporary("bad.jsonl", "{\"a\":\n")});
  EXPECT_EQ(wrong.code, 1);
  EXPECT_TRUE(has(wrong.err, "bad.jsonl:1")) << wrong.err;
}

TEST(Pulled, ListAndRemove) {
  EXPECT_EQ(json_of({"ls", "--json"}).size(), 0u);
  EXPECT_EQ(run_moxie({"rm", "some/model"}).code, 1);
  const auto unsafe = run_moxie({"rm", "../../etc"});
  EXPECT_EQ(unsafe.code, 2);
  const auto offline = run_moxie({"pull", "some/model", "--offline"});
  EXPECT_EQ(offline.code, 1);
  EXPECT_TRUE(has(offline.err, "offline")) << offline.err;
}

// The records are written here, in the home of the tests, and read by the binary.
class RunsVerb : public ::testing::Test {
 protected:
  void SetUp() override {
    ::setenv("XDG_DATA_HOME", (testing::home() + "/.local/share").c_str(), 1);
    for (const double lr : {1e-4, 2e-4}) {
      recipes::RunRecord run;
      run.verb = "tune";
      run.model = "tiny";
      run.method = "lora";
      run.config = {{"lr", lr}, {"rank", 8}};
      recipes::RunRecorder recorder(run);
      recorder.finish("done", {{"loss", lr * 1000}});
      ids.push_back(std::to_string(recorder.id()));
    }
  }
  void TearDown() override { ::unsetenv("XDG_DATA_HOME"); }
  std::vector<std::string> ids;
};

TEST_F(RunsVerb, ListShowCompare) {
  const Json rows = json_of({"runs", "ls", "--json"});
  ASSERT_GE(rows.size(), 2u);
  EXPECT_EQ(rows[0]["id"].dump(), ids[1]);
  EXPECT_TRUE(has(run_moxie({"runs", "ls"}).out, "tiny"));
  EXPECT_EQ(json_of({"runs", "show", ids[0], "--json"})["config"]["lr"], 1e-4);
  EXPECT_TRUE(has(run_moxie({"runs", "show", ids[0]}).out, "config.rank"));
  const Json both = json_of({"runs", "compare", ids[0], ids[1], "--json"});
  EXPECT_EQ(both["config"], (Json{{"lr", {1e-4, 2e-4}}}));
  EXPECT_EQ(both["metrics"]["loss"].size(), 2u);
  const auto shown = run_moxie({"runs", "compare", ids[0], ids[1]});
  EXPECT_TRUE(has(shown.out, "config.lr") && !has(shown.out, "config.rank")) << shown.out;
}

TEST_F(RunsVerb, MistakesAreNamed) {
  EXPECT_TRUE(has(run_moxie({"runs", "show"}).err, "needs a run"));
  EXPECT_TRUE(has(run_moxie({"runs", "compare", ids[0]}).err, "needs two runs"));
  EXPECT_TRUE(has(run_moxie({"runs", "show", "abc"}).err, "'abc' is not the number of a run"));
  EXPECT_EQ(run_moxie({"runs", "show", "424242"}).code, 1);
  EXPECT_EQ(run_moxie({"runs", "rm", ids[0]}).code, 0);
  EXPECT_EQ(run_moxie({"runs", "show", ids[0]}).code, 1);
}

}  // namespace
}  // namespace moxie::cli
