// The loop itself: what a step is, what is measured, when it evaluates, saves and stops.
#include "train/trainer.h"

#include <gtest/gtest.h>

#include "toy.h"

namespace moxie::train {
namespace {

struct Recorder : Callback {
  std::vector<StepMetrics> steps;
  std::vector<EvalMetrics> evals;
  std::vector<int64_t> checkpoints;
  std::vector<std::string> logs, order;
  std::vector<double> seconds_left;
  int ends = 0;
  ToyObjective* objective = nullptr;
  std::vector<std::vector<float>> values_at_eval;

  void on_step(const StepMetrics& metrics, int64_t, double left) override {
    steps.push_back(metrics);
    seconds_left.push_back(left);
    order.push_back(fmt::format("step {}", metrics.step));
  }
  void on_eval(const EvalMetrics& metrics) override {
    evals.push_back(metrics);
    order.push_back(fmt::format("eval {}", metrics.step));
    if (objective != nullptr) values_at_eval.push_back(objective->values());
  }
  void on_checkpoint(int64_t step, const std::filesystem::path& path) override {
    EXPECT_TRUE(std::filesystem::exists(path / "params.safetensors"));
    checkpoints.push_back(step);
    order.push_back(fmt::format("save {}", step));
  }
  void on_log(const std::string& message) override { logs.push_back(message); }
  void on_end(const TrainResult&) override { ++ends; }
};

template <class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "(no error)";
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Trainer, LearnsAndWritesALineAStep) {
  TemporaryFolder folder;
  ToyRun run;
  Recorder recorder;
  run.callbacks = {&recorder};
  run.options.epochs = 30;
  const TrainResult result = run.go(folder.path);
  EXPECT_EQ(result.outcome, Outcome::kFinished);
  EXPECT_EQ(result.step, 120);
  EXPECT_EQ(recorder.ends, 1);
  const auto lines = read_lines(folder.path / "metrics.jsonl");
  ASSERT_EQ(lines.size(), 120U);
  EXPECT_LT(lines.back()["loss"].get<double>(), 0.7 * lines.front()["loss"].get<double>());
  int64_t seen = 0;
  for (size_t i = 0; i < lines.size(); ++i) {
    const Json& line = lines[i];
    seen += line["tokens"].get<int64_t>();
    EXPECT_EQ(line["step"], i + 1);
    EXPECT_DOUBLE_EQ(line["epoch"].get<double>(), static_cast<double>(i + 1) / 4);
    EXPECT_EQ(line["learning_rate"].get<double>(),
              run.trainer->schedule().learning_rate(static_cast<int64_t>(i)));
    EXPECT_EQ(line["tokens_seen"], seen);
    EXPECT_GT(line["grad_norm"].get<double>(), 0);
    EXPECT_GT(line["tokens_per_second"].get<double>(), 0);
    EXPECT_GT(line["peak_rss_mib"].get<double>(), 1);
    EXPECT_LT(line["learnt_tokens"], line["tokens"]);
  }
  int64_t epoch_tokens = 0;
  for (const auto& sample : run.data.samples)
    epoch_tokens += static_cast<int64_t>(sample.tokens.size());
  EXPECT_EQ(seen, 30 * epoch_tokens);
  EXPECT_EQ(result.tokens_seen, seen);
  EXPECT_EQ(recorder.seconds_left.back(), recorder.seconds_left.back());
  EXPECT_GT(recorder.seconds_left.front(), 0);
}

TEST(Trainer, LossIsTheMeanOverTheLearntTokensOfTheWholeBatch) {
  TemporaryFolder folder;
  ToyRun run;
  run.objective.keep = 1;
  run.options.steps = 1;
  MicroBatch all;
  for (const int64_t i : run.data.order(0)) {
    if (all.size() < 6) all.push_back(&run.data.sample(i));
  }
  const LossSum direct = run.objective.forward_backward(all, 0, 0, false);
  run.go(folder.path);
  const auto lines = read_lines(folder.path / "metrics.jsonl");
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_NEAR(lines[0]["loss"].get<double>(), direct.loss / static_cast<double>(direct.tokens),
              1e-12);
  EXPECT_EQ(lines[0]["learnt_tokens"], direct.tokens);
}

TEST(Trainer, ResultDoesNotDependOnHowABatchIsSplit) {
  struct Split {
    int64_t batch_size, accumulate, micro_tokens;
  };
  std::vector<std::vector<float>> values;
  std::vector<int64_t> calls;
  std::vector<std::vector<Json>> lines;
  for (const Split split :
       {Split{8, 1, 4096}, Split{4, 2, 4096}, Split{8, 1, 12}, Split{1, 8, 1}}) {
    TemporaryFolder folder;
    ToyRun run;
    run.objective.keep = 1;
    run.options.batch_size = split.batch_size;
    run.options.accumulate = split.accumulate;
    run.options.micro_tokens = split.micro_tokens;
    run.go(folder.path);
    values.push_back(run.objective.values());
    calls.push_back(run.objective.training_calls);
    lines.push_back(read_timeless(folder.path / "metrics.jsonl"));
  }
  EXPECT_EQ(calls[0], 9);
  EXPECT_EQ(calls[1], 15);
  EXPECT_EQ(calls[3], 60);
  for (size_t k = 1; k < values.size(); ++k) {
    ASSERT_EQ(lines[k].size(), lines[0].size());
    for (size_t i = 0; i < values[0].size(); ++i) EXPECT_NEAR(values[k][i], values[0][i], 1e-6);
    for (size_t i = 0; i < lines[0].size(); ++i) {
      EXPECT_NEAR(lines[k][i]["loss"].get<double>(), lines[0][i]["loss"].get<double>(), 1e-6);
      EXPECT_EQ(lines[k][i]["tokens"], lines[0][i]["tokens"]);
    }
  }
}

TEST(Trainer, EvaluatesAndSavesWhenAsked) {
  TemporaryFolder folder;
  ToyRun run;
  Recorder recorder;
  run.callbacks = {&recorder};
  run.options.steps = 10;
  run.options.eval_every = 4;
  run.options.save_every = 3;
  run.options.keep = 100;
  run.objective.eval_script = std::vector<double>(100, 1.0);  // only the first one is the best
  run.options.micro_tokens = 4096;
  run.go(folder.path);
  std::vector<std::string> rest;
  for (const auto& entry : recorder.order) {
    if (!entry.starts_with("step")) rest.push_back(entry);
  }
  EXPECT_EQ(rest, (std::vector<std::string>{"save 3", "eval 4", "save 4", "save 6", "eval 8",
                                            "save 9", "eval 10", "save 10"}));
  const auto lines = read_lines(folder.path / "eval.jsonl");
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_EQ(lines[0]["step"], 4);
  EXPECT_EQ(lines[0]["is_best"], true);
  EXPECT_EQ(lines[1]["is_best"], false);
  EXPECT_DOUBLE_EQ(lines[2]["perplexity"].get<double>(), std::exp(1.0));
  int64_t learnt = 0;
  for (const auto& sample : run.held_out.samples) learnt += sample.learnt_count();
  EXPECT_EQ(lines[0]["learnt_tokens"], learnt);
}

TEST(Trainer, EvaluatesAndSavesAtEachEpochsEndByDefault) {
  TemporaryFolder folder;
  ToyRun run;
  Recorder recorder;
  run.callbacks = {&recorder};
  run.options.epochs = 2.25;  // 9 steps of 4 an epoch
  run.go(folder.path);
  ASSERT_EQ(recorder.evals.size(), 3U);
  EXPECT_EQ(recorder.evals[0].step, 4);
  EXPECT_EQ(recorder.evals[1].step, 8);
  EXPECT_EQ(recorder.evals[2].step, 9);
  EXPECT_EQ(recorder.checkpoints, (std::vector<int64_t>{4, 8, 9}));
}

TEST(Trainer, StopsEarlyAndRestoresTheBest) {
  TemporaryFolder folder;
  ToyRun run;
  Recorder recorder;
  recorder.objective = &run.objective;
  run.callbacks = {&recorder};
  run.options.eval_every = 2;
  run.options.patience = 3;
  run.options.min_delta = 0.05;
  run.options.micro_tokens = 4096;
  run.objective.eval_script = {3.0, 2.0, 1.98, 2.5, 2.6, 0.1};  // 1.98 is not lower by enough
  const TrainResult result = run.go(folder.path);
  EXPECT_EQ(result.outcome, Outcome::kStoppedEarly);
  EXPECT_EQ(result.step, 10);
  EXPECT_EQ(result.best_step, 4);
  EXPECT_EQ(result.best_loss, 2.0);
  EXPECT_NE(run.objective.values(), recorder.values_at_eval[1]);
  const uint64_t changes = run.objective.params()[0]->changes;
  EXPECT_EQ(run.trainer->restore_best(), 4);
  EXPECT_EQ(run.objective.params()[0]->changes, changes + 1);
  EXPECT_EQ(run.objective.values(), recorder.values_at_eval[1]);
  ToyRun again;
  again.options = run.options;
  EXPECT_EQ(again.go(folder.path, true).outcome, Outcome::kStoppedEarly);
  EXPECT_EQ(again.objective.training_calls, 0);
}

TEST(Trainer, RestoreBestWithoutEvaluationGivesNothing) {
  TemporaryFolder folder;
  ToyRun run;
  run.has_held_out = false;
  run.go(folder.path);
  EXPECT_EQ(run.trainer->restore_best(), std::nullopt);
}

TEST(Trainer, ANotFiniteLossStopsWithAdviceAndLeavesTheParamsAlone) {
  TemporaryFolder folder;
  ToyRun run;
  run.options.accumulate = 1;
  run.options.micro_tokens = 4096;
  run.options.save_every = 2;
  run.options.steps = 9;
  run.has_held_out = false;
  run.objective.loss_is_nan_at = 6;
  const std::string message = message_of([&] { run.go(folder.path); });
  EXPECT_TRUE(has(message, "step 6: the loss is not a number")) << message;
  EXPECT_TRUE(has(message, "highest: 0.02")) << message;
  EXPECT_TRUE(has(message, "--lr 0.002")) << message;
  EXPECT_TRUE(has(message, "checkpoint of step 4")) << message;
  EXPECT_EQ(read_lines(folder.path / "metrics.jsonl").size(), 5U);

  TemporaryFolder other;
  ToyRun whole;
  whole.options = run.options;
  whole.has_held_out = false;
  std::vector<float> after_five;
  whole.stop = [&] { return whole.objective.training_calls == 5; };
  whole.go(other.path);
  EXPECT_EQ(run.objective.values(), whole.objective.values());
}

TEST(Trainer, ANotFiniteGradientKeepsTheStateBeforeItWhenNothingWasSaved) {
  TemporaryFolder folder;
  ToyRun run;
  run.options.accumulate = 2;
  run.options.micro_tokens = 4096;
  run.options.clip = 0;
  run.objective.gradient_is_infinite_at = 4;  // the end of step 2
  const std::string message = message_of([&] { run.go(folder.path); });
  EXPECT_TRUE(has(message, "step 2: the gradient's norm is infinite")) << message;
  EXPECT_TRUE(has(message, "checkpoint of step 1")) << message;
  // What was kept goes on, and as if nothing had happened.
  ToyRun resumed, whole;
  resumed.options = whole.options = run.options;
  resumed.go(folder.path, true);
  TemporaryFolder other;
  whole.go(other.path);
  EXPECT_EQ(resumed.objective.values(), whole.objective.values());
}

TEST(Trainer, ALearningRateThatDivergesIsNamed) {
  TemporaryFolder folder;
  ToyRun run;
  run.options.optimizer = "sgd";
  run.options.lr = 1e5;
  run.options.clip = 0;
  run.options.schedule = "constant";
  run.options.warmup = 0;
  run.options.epochs = 50;
  const std::string message = message_of([&] { run.go(folder.path); });
  EXPECT_TRUE(has(message, "learning rate of 100000")) << message;
  EXPECT_TRUE(has(message, "try a lower one (--lr 1e+04)")) << message;
}

TEST(Trainer, SamplesWithNothingToLearnAreSkippedAndCounted) {
  TemporaryFolder folder;
  ToyRun run;
  Recorder recorder;
  run.callbacks = {&recorder};
  run.options.batch_size = 1;
  run.options.accumulate = 1;
  run.options.epochs = 1;
  for (size_t i = 0; i < 5; ++i) {
    for (auto& learnt : run.data.samples[i].is_learnt) learnt = 0;
  }
  run.go(folder.path);
  ASSERT_EQ(recorder.logs.size(), 1U);
  EXPECT_EQ(recorder.logs[0], "5 of 20 samples have nothing to learn and are skipped");
  EXPECT_EQ(run.objective.training_calls, 15);
  EXPECT_EQ(recorder.steps.size(), 20U);

  ToyRun nothing;
  for (auto& sample : nothing.data.samples) sample.is_learnt.assign(sample.tokens.size(), 0);
  EXPECT_TRUE(has(message_of([&] { nothing.build(folder.path); }), "none of the 20 samples"));
  ToyRun nothing_held_out;
  TemporaryFolder other;
  for (auto& sample : nothing_held_out.held_out.samples) {
    sample.is_learnt.assign(sample.tokens.size(), 0);
  }
  EXPECT_TRUE(has(message_of([&] { nothing_held_out.go(other.path); }), "none of the 6 held-out"));
}

TEST(Trainer, RefusesWhatCannotWork) {
  TemporaryFolder folder;
  ToyRun patience;
  patience.has_held_out = false;
  patience.options.patience = 2;
  EXPECT_TRUE(has(message_of([&] { patience.build(folder.path); }), "patience 2"));
  ToyRun nowhere;
  EXPECT_TRUE(has(message_of([&] { nowhere.build("/proc/moxie"); }), "/proc/moxie"));
  ToyRun first, second;
  first.go(folder.path);
  EXPECT_TRUE(
      has(message_of([&] { second.go(folder.path); }), "already holds a run, saved at step 12"));
}

}  // namespace
}  // namespace moxie::train
