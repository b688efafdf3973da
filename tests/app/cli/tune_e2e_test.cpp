// The verbs that compute, from words to files, on a tiny model.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "app/cli/run_binary.h"
#include "base/files.h"
#include "base/json.h"
#include "io/safetensors.h"

namespace moxie::cli {
namespace {

namespace fs = std::filesystem;
using testing::run_moxie;
using testing::write_temporary;

const std::string kCurve = MOXIE_SOURCE_DIR "/tests/golden/lora_curve";
const std::string kBase = kCurve + "/base";
const std::string kData = kCurve + "/prompts.jsonl";
const std::string kAdapter = kCurve + "/adapter_final";

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string fresh(const std::string& name) {
  const std::string path = testing::home() + "/" + name;
  fs::remove_all(path);
  return path;
}

std::vector<Json> lines_of(const std::string& text) {
  std::vector<Json> rows;
  std::istringstream lines(text);
  std::string line;
  while (std::getline(lines, line)) rows.push_back(parse_json(line, "line"));
  return rows;
}

testing::Ran tune(const std::string& out, const std::vector<std::string>& more,
                  const testing::RunOptions& how = {}) {
  std::vector<std::string> words = {"tune", kBase, "--data", kData, "--out", out, "--threads", "1"};
  words.insert(words.end(), more.begin(), more.end());
  return run_moxie(words, how);
}

TEST(Tune, LeavesEverythingBehind) {
  const std::string out = fresh("run");
  const auto ran = tune(out, {"--steps", "4", "--eval-split", "4", "--eval-every", "2", "--json"});
  ASSERT_EQ(ran.code, 0) << ran.err;
  const Json summary = parse_json(ran.out, "tune");
  EXPECT_EQ(summary["steps"], 4);
  for (const char* name : {"adapter_config.json", "adapter_model.safetensors", "config.yaml",
                           "report.html", "metrics.jsonl", "eval.jsonl", "checkpoints"}) {
    EXPECT_TRUE(fs::exists(out + "/" + name)) << name;
  }
  const auto metrics = lines_of(read_file(out + "/metrics.jsonl"));
  ASSERT_EQ(metrics.size(), 4u);
  for (const char* key : {"step", "loss", "learning_rate", "grad_norm", "tokens",
                          "tokens_per_second", "peak_rss_mib"}) {
    EXPECT_TRUE(metrics[0].contains(key)) << key;
  }
  EXPECT_EQ(lines_of(read_file(out + "/eval.jsonl")).size(), 2u);
  const std::string report = read_file(out + "/report.html");
  EXPECT_TRUE(has(report, "<svg") && has(report, "Learning rate") && has(report, "lora"));
  EXPECT_TRUE(has(ran.err, "step 4/4")) << ran.err;
  const Json runs = parse_json(run_moxie({"runs", "ls", "--json"}).out, "runs");
  EXPECT_EQ(runs[0]["status"], "done");
  EXPECT_EQ(runs[0]["out"], out);
}

TEST(Tune, ConfigRepeatsTheRun) {
  const std::string first = fresh("first");
  const std::string second = fresh("second");
  ASSERT_EQ(tune(first, {"--steps", "3", "--rank", "4", "--samples", "0", "--lr", "3e-3"}).code, 0);
  const auto again = run_moxie({"tune", first + "/config.yaml", "--out", second, "--threads", "1"});
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(read_file(first + "/adapter_model.safetensors"),
            read_file(second + "/adapter_model.safetensors"));
}

TEST(Tune, FlagBeatsEnvironmentBeatsRecipe) {
  const std::string recipe = write_temporary(
      "recipe.yaml", "model: " + kBase + "\ndata: [" + kData + "]\nsteps: 3\nsamples: 0\n");
  const auto steps = [&](const std::vector<std::string>& flags,
                         const std::vector<std::string>& environment) {
    std::vector<std::string> words = {"tune", recipe, "--out", fresh("precedence"), "--json"};
    words.insert(words.end(), flags.begin(), flags.end());
    const auto ran = run_moxie(words, {environment, "", {}});
    EXPECT_EQ(ran.code, 0) << ran.err;
    return parse_json(ran.out, "tune")["steps"].get<int>();
  };
  EXPECT_EQ(steps({}, {}), 3);
  EXPECT_EQ(steps({}, {"MOXIE_STEPS=2"}), 2);
  EXPECT_EQ(steps({"--steps", "1"}, {"MOXIE_STEPS=2"}), 1);
}

TEST(Tune, DryRunWritesNothing) {
  const std::string out = fresh("dry");
  const auto ran = tune(out, {"--steps", "4", "--dry-run"});
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_FALSE(fs::exists(out));
  for (const char* part : {"trainable parameters", "peak memory", "time"})
    EXPECT_TRUE(has(ran.out, part)) << part;
  const Json plan = parse_json(tune(out, {"--dry-run", "--json"}).out, "plan");
  EXPECT_EQ(plan["samples"].size(), 2u);
  EXPECT_GT(plan["trainable_parameters"].get<int64_t>(), 0);
}

TEST(Tune, RamIsKeptOrRefusedWithWhatWouldDo) {
  const Json plan =
      parse_json(tune(fresh("ram"), {"--ram", "2G", "--dry-run", "--json"}).out, "plan");
  EXPECT_LT(plan["memory"]["total_bytes"].get<uint64_t>(), uint64_t{2} << 30);
  EXPECT_EQ(plan["micro_tokens"], 1024);
  const auto refused = tune(fresh("ram"), {"--ram", "20M"});
  EXPECT_EQ(refused.code, 2);
  for (const char* part : {"--ram allows 20.0 MiB", "give --ram ", "take a smaller model"})
    EXPECT_TRUE(has(refused.err, part)) << refused.err;
  const int enough = std::stoi(refused.err.substr(refused.err.find("give --ram ") + 11));
  EXPECT_EQ(tune(fresh("ram"), {"--ram", std::to_string(enough + 2) + "M", "--dry-run"}).code, 0);
}

TEST(Tune, AnAdapterThatIsGoneOnWithKeepsItsSettings) {
  const std::string first = fresh("first"), second = fresh("second");
  ASSERT_EQ(tune(first, {"--steps", "1", "--rank", "4", "--alpha", "6"}).code, 0);
  const auto ran = tune(second, {"--steps", "1", "--init-adapter", first});
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_TRUE(has(ran.err, "keeps its modules and its settings: rank 4, alpha 6")) << ran.err;
  EXPECT_TRUE(has(read_file(second + "/config.yaml"), "rank: 4\nalpha: 6\n"));
  EXPECT_EQ(read_json_file(second + "/adapter_config.json")["r"], 4);
}

TEST(Tune, MapsAreWrittenAsPairsOrAsJson) {
  const std::vector<std::vector<std::string>> ways = {
      {"--rank-pattern", "q_proj=2,v_proj=3"},
      {"--rank-pattern", "q_proj=2", "--rank-pattern", "v_proj=3"},
      {"--rank-pattern", R"({"q_proj": 2, "v_proj": 3})"}};
  for (auto flags : ways) {
    flags.insert(flags.end(), {"--steps", "1", "--rank", "4"});
    const std::string out = fresh("map");
    ASSERT_EQ(tune(out, flags).code, 0);
    const Json patterns = read_json_file(out + "/adapter_config.json")["rank_pattern"];
    EXPECT_EQ(patterns, Json({{"q_proj", 2}, {"v_proj", 3}}));
  }
  for (const char* bad : {"q_proj", "=3", "q_proj=x", "q_proj="}) {
    const auto ran = tune(fresh("map"), {"--rank-pattern", bad});
    EXPECT_EQ(ran.code, 2) << bad;
    EXPECT_TRUE(has(ran.err, "must be written NAME=NUMBER,...")) << ran.err;
  }
  EXPECT_EQ(tune(fresh("map"), {"--rank-pattern", "{\"q_proj\": 4"}).code, 2);
}

// Sends the signal once the run has done `lines` steps.
std::function<void(int)> interrupt_after(const std::string& out, size_t lines) {
  return [=](int process) {
    for (int i = 0; i < 2000; ++i) {
      if (fs::exists(out + "/metrics.jsonl")) {
        const std::string text = read_file(out + "/metrics.jsonl");
        if (static_cast<size_t>(std::count(text.begin(), text.end(), '\n')) >= lines) break;
      }
      ::usleep(10000);
    }
    ::kill(process, SIGINT);
  };
}

TEST(Tune, AnInterruptedRunIsSavedAndGoesOn) {
  const std::vector<std::string> flags = {"--steps", "40", "--samples", "0", "--lr", "1e-3"};
  const std::string whole = fresh("whole");
  ASSERT_EQ(tune(whole, flags).code, 0);
  const std::string out = fresh("interrupted");
  const auto left = tune(out, flags, {{}, "", interrupt_after(out, 3)});
  ASSERT_EQ(left.code, 130) << left.err;
  EXPECT_TRUE(has(left.err, "--resume goes on")) << left.err;
  EXPECT_EQ(parse_json(run_moxie({"runs", "ls", "--json"}).out, "runs")[0]["status"],
            "interrupted");
  auto more = flags;
  more.emplace_back("--resume");
  const auto resumed = tune(out, more);
  ASSERT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_EQ(read_file(out + "/adapter_model.safetensors"),
            read_file(whole + "/adapter_model.safetensors"));
}

TEST(Chat, TurnsFromAScript) {
  const auto no_template = run_moxie({"chat", kBase}, {{}, "hello\n", {}});
  EXPECT_EQ(no_template.code, 1);
  EXPECT_TRUE(has(no_template.err, "template")) << no_template.err;

  const std::string model = fresh("chatty");
  fs::create_directories(model);
  for (const auto& file : fs::directory_iterator(kBase)) fs::copy(file.path(), model);
  write_temporary("chatty/chat_template.jinja",
                  "{% for m in messages %}{{ m.content }} {% endfor %}");
  const auto ran =
      run_moxie({"chat", model, "--max-tokens", "6"},
                {{}, "turn on\n/adapter " + kAdapter + "\nturn on\n/reset\nturn on\n", {}});
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(std::count(ran.out.begin(), ran.out.end(), '\n') >= 3, true) << ran.out;
  const auto bad = run_moxie({"chat", model}, {{}, "/adapter /nowhere\n", {}});
  EXPECT_EQ(bad.code, 1);
  EXPECT_TRUE(has(bad.err, "/nowhere")) << bad.err;
}

TEST(Tune, MistakesAreNamedBeforeAnythingRuns) {
  const auto no_data = run_moxie({"tune", kBase, "--out", fresh("none")});
  EXPECT_NE(no_data.code, 0);
  EXPECT_TRUE(has(no_data.err, "--data")) << no_data.err;
  const auto flag = tune(fresh("none"), {"--learning-rte", "1"});
  EXPECT_EQ(flag.code, 2);
  const auto method = tune(fresh("none"), {"--method", "lra"});
  EXPECT_EQ(method.code, 2);
  EXPECT_TRUE(has(method.err, "did you mean 'lora'?")) << method.err;
  const auto rank = tune(fresh("none"), {"--rank", "0"});
  EXPECT_EQ(rank.code, 2);
  const auto model = run_moxie({"tune", "no/such-model", "--data", kData, "--out", fresh("none")});
  EXPECT_EQ(model.code, 1);
  const auto targets = tune(fresh("none"), {"--targets", "q_prj"});
  EXPECT_EQ(targets.code, 2);
  EXPECT_FALSE(fs::exists(testing::home() + "/none/adapter_config.json"));
}

TEST(Export, ReplacesOnlyItsLike) {
  const std::string folder = fresh("exported");
  const std::vector<std::string> hf = {"export", kBase, "--to", "hf", "--out", folder};
  ASSERT_EQ(run_moxie(hf).code, 0);
  EXPECT_EQ(run_moxie(hf).code, 0) << "a model may be replaced by a model";
  const auto refuses = [](const std::string& to, const std::string& out, const std::string& why) {
    const auto ran = run_moxie({"export", kBase, "--adapter", kAdapter, "--to", to, "--out", out});
    EXPECT_EQ(ran.code, 2) << to;
    EXPECT_TRUE(has(ran.err, why)) << ran.err;
  };
  refuses("peft", folder, "holds other things and no adapter_config.json");
  refuses("gguf-adapter", folder, "is a folder, and --to gguf-adapter writes a file");
  refuses("peft", folder + "/config.json", "is a file, and --to peft writes a folder");
  EXPECT_TRUE(fs::exists(folder + "/model.safetensors"));
}

TEST(Score, TokensTextAndLogits) {
  const std::string path = testing::home() + "/logits.safetensors";
  const auto ran = run_moxie(
      {"score", kBase, "--tokens", "5,6,7,8", "--logits", path, "--dtype", "f32", "--json"});
  ASSERT_EQ(ran.code, 0) << ran.err;
  const Json scored = parse_json(ran.out, "score");
  ASSERT_EQ(scored["logprobs"].size(), 4u);
  EXPECT_TRUE(scored["logprobs"][0].is_null());
  EXPECT_LT(scored["logprobs"][1].get<double>(), 0);
  const auto file = io::Safetensors::open(path);
  ASSERT_NE(file->find("logits"), nullptr);
  EXPECT_EQ(file->find("logits")->dims[0], 4);
  EXPECT_EQ(file->find("logits")->type_name, "F32");
  EXPECT_EQ(run_moxie({"score", kBase, "--text", "turn on the light", "--json"}).code, 0);
  EXPECT_EQ(lines_of(run_moxie({"score", kBase, "--data", kData, "--json"}).out).size(),
            lines_of(read_file(kData)).size());
  EXPECT_EQ(run_moxie({"score", kBase, "--tokens", "5,99999999"}).code, 2);
  EXPECT_EQ(run_moxie({"score", kBase}).code, 2);
}

TEST(Generate, AnswersWithAndWithoutAnAdapter) {
  const std::vector<std::string> words = {
      "generate", kBase,          "--prompt", "turn on the lamp in the hall.",
      "--raw",    "--max-tokens", "12",       "--json"};
  const auto plain = run_moxie(words);
  ASSERT_EQ(plain.code, 0) << plain.err;
  auto adapted_words = words;
  adapted_words.insert(adapted_words.end(), {"--adapter", kAdapter});
  const auto adapted = run_moxie(adapted_words);
  ASSERT_EQ(adapted.code, 0) << adapted.err;
  const Json first = parse_json(plain.out, "generate");
  const Json second = parse_json(adapted.out, "generate");
  EXPECT_LE(first["tokens"].size(), 12u);
  EXPECT_NE(first["tokens"], second["tokens"]);
  const auto streamed =
      run_moxie({"generate", kBase, "--prompt", "-", "--raw", "--max-tokens", "12"},
                {{}, "turn on the lamp in the hall.", {}});
  EXPECT_EQ(streamed.out, first["text"].get<std::string>() + "\n");
}

TEST(Eval, MetricsOnAFile) {
  const auto loss = run_moxie({"eval", kBase, "--data", kData, "--metric", "loss", "--json"});
  ASSERT_EQ(loss.code, 0) << loss.err;
  const auto tuned = run_moxie(
      {"eval", kBase, "--data", kData, "--metric", "loss", "--adapter", kAdapter, "--json"});
  ASSERT_EQ(tuned.code, 0) << tuned.err;
  EXPECT_LT(parse_json(tuned.out, "eval")["loss"].get<double>(),
            parse_json(loss.out, "eval")["loss"].get<double>());
  const std::string predictions = testing::home() + "/predictions.jsonl";
  const auto match = run_moxie({"eval", kBase, "--data", kData, "--max-tokens", "4", "--limit", "3",
                                "--predictions", predictions, "--json"});
  ASSERT_EQ(match.code, 0) << match.err;
  EXPECT_EQ(parse_json(match.out, "eval")["examples"], 3);
  EXPECT_EQ(lines_of(read_file(predictions)).size(), 3u);
}

TEST(Bench, EverySpeedHasItsLimit) {
  for (const std::string what : {"train", "prefill", "decode"}) {
    const auto ran = run_moxie({"bench", what, kBase, "--tokens", "8", "--context", "4", "--json"});
    ASSERT_EQ(ran.code, 0) << ran.err;
    const Json found = parse_json(ran.out, what);
    EXPECT_GT(found["tokens_per_second"].get<double>(), 0) << what;
    EXPECT_GT(found["share_of_limit"].get<double>(), 0) << what;
    EXPECT_LT(found["share_of_limit"].get<double>(), 2) << what;
    EXPECT_LE(found["slowest"].get<double>(), found["tokens_per_second"].get<double>()) << what;
    EXPECT_GE(found["fastest"].get<double>(), found["tokens_per_second"].get<double>()) << what;
  }
  EXPECT_EQ(run_moxie({"bench", "decode"}).code, 2);
}

TEST(Bench, TokensAreThoseThatARoundRuns) {
  const auto tokens_of = [](std::vector<std::string> args) {
    args.insert(args.begin(), "bench");
    for (const char* arg : {"--rounds", "1", "--skip-limits", "--json"}) args.emplace_back(arg);
    const auto ran = run_moxie(args);
    EXPECT_EQ(ran.code, 0) << ran.err;
    return parse_json(ran.out, args[1])["tokens"].get<int64_t>();
  };
  EXPECT_EQ(tokens_of({"decode", kBase, "--tokens", "3", "--batch", "4", "--attach"}), 12);
  EXPECT_EQ(tokens_of({"prefill", kBase, "--tokens", "9"}), 9);
  EXPECT_EQ(tokens_of({"train", kBase, "--tokens", "6", "--batch", "2", "--method", "full"}), 12);
  const auto ran = run_moxie({"bench", "train", kBase, "--data", kData, "--batch", "2", "--rounds",
                              "1", "--skip-limits", "--json"});
  ASSERT_EQ(ran.code, 0) << ran.err;
  const Json found = parse_json(ran.out, "train");
  ASSERT_EQ(found["lengths"].size(), 2u);
  EXPECT_EQ(found["tokens"].get<int64_t>(),
            found["lengths"][0].get<int64_t>() + found["lengths"][1].get<int64_t>());
  EXPECT_EQ(found.count("share_of_limit"), 0u);
  const auto greedy = run_moxie({"bench", "train", kBase, "--data", kData, "--batch", "4096"});
  EXPECT_EQ(greedy.code, 2);
  EXPECT_NE(greedy.err.find("lower --batch"), std::string::npos) << greedy.err;
}

}  // namespace
}  // namespace moxie::cli
