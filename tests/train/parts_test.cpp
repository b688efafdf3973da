// The parts of the loop on their own: batches, logs, time left, evaluation.
#include <gtest/gtest.h>

#include <set>

#include "toy.h"
#include "train/evaluate.h"

namespace moxie::train {
namespace {

TEST(BatchPlan, TakesEverySampleOncePerEpoch) {
  const ToySource source(20);
  const ToyObjective objective;
  BatchPlan plan(source, objective, toy_options());
  EXPECT_EQ(plan.steps_per_epoch(), 4);
  EXPECT_EQ(plan.total_steps(), 12);
  std::set<int64_t> orders;
  for (int64_t epoch = 0; epoch < 3; ++epoch) {
    std::multiset<const data::Sample*> seen;
    for (int64_t step = 4 * epoch; step < 4 * epoch + 4; ++step) {
      const StepBatch batch = plan.batch(step);
      int64_t learnt = 0, samples = 0;
      for (const auto& micro : batch.micro_batches) {
        int64_t tokens = 0;
        for (const data::Sample* sample : micro) {
          seen.insert(sample);
          learnt += sample->learnt_count();
          tokens += static_cast<int64_t>(sample->tokens.size());
          ++samples;
        }
        EXPECT_TRUE(tokens <= 16 || micro.size() == 1);
        EXPECT_LE(micro.size(), 3U);
      }
      EXPECT_EQ(batch.learnt_tokens, learnt);
      EXPECT_EQ(samples, step % 4 == 3 ? 2 : 6);
    }
    EXPECT_EQ(seen.size(), 20U);
    EXPECT_EQ(std::set<const data::Sample*>(seen.begin(), seen.end()).size(), 20U);
    orders.insert(source.order(epoch)[0]);
  }
  EXPECT_GT(orders.size(), 1U);
  EXPECT_NE(plan.order_digest(0), plan.order_digest(1));
  EXPECT_EQ(plan.cursor_of(7), 18);
  EXPECT_EQ(plan.epoch_of(7), 1);
}

TEST(BatchPlan, StepsWinOverEpochs) {
  const ToySource source(20);
  const ToyObjective objective;
  TrainOptions options = toy_options();
  options.steps = 7;
  EXPECT_EQ(BatchPlan(source, objective, options).total_steps(), 7);
}

TEST(JsonLines, KeepsWholeLinesUpToTheStep) {
  TemporaryFolder folder;
  const auto path = folder.path / "log.jsonl";
  {
    JsonLines lines(path, 0);
    for (int step = 1; step <= 5; ++step) lines.append({{"step", step}});
  }
  std::ofstream(path, std::ios::app) << "{\"step\":2,\"torn\":";
  {
    JsonLines lines(path, 3);
    lines.append({{"step", 4}, {"again", true}});
  }
  EXPECT_EQ(read_file(path),
            "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n{\"step\":4,\"again\":true}\n");
}

TEST(JsonLines, SaysWhereItCannotWrite) {
  EXPECT_THROW(JsonLines("/proc/moxie/metrics.jsonl", 0), Error);
}

TEST(Eta, FollowsRecentSpeed) {
  EtaEstimator eta;
  EXPECT_EQ(eta.seconds_left(100, 0), 0);
  eta.add_step(100, 50);  // a slow first step
  for (int i = 0; i < 60; ++i) eta.add_step(100, 1);
  EXPECT_NEAR(eta.seconds_left(1000, 0), 10, 1);
  eta.add_evaluation(7);
  EXPECT_NEAR(eta.seconds_left(1000, 2), 24, 1);
}

TEST(Evaluate, DoesNotDependOnTheSplitAndCanBeLeft) {
  ToyObjective objective;
  const ToySource source(11);
  const auto whole = evaluate_loss(objective, source, 1 << 20);
  const auto split = evaluate_loss(objective, source, 10);
  ASSERT_TRUE(whole && split);
  EXPECT_NEAR(whole->loss, split->loss, 1e-9);
  EXPECT_EQ(whole->tokens, split->tokens);
  EXPECT_GT(objective.evaluations, 3U);
  int polls = 0;
  EXPECT_FALSE(evaluate_loss(objective, source, 10, [&] { return ++polls > 2; }));
}

TEST(TrainOptions, AreCheckedByTheirLimits) {
  TrainOptions options;
  const auto list = list_options(options);
  EXPECT_EQ(list.size(), 17U);
  EXPECT_THROW(set_options(list, Json{{"schedule", "cosin"}}, "train"), Error);
  EXPECT_THROW(set_options(list, Json{{"batch_size", 0}}, "train"), Error);
  set_options(list, Json{{"lr", 0.5}, {"optimizer", "sgd"}}, "train");
  EXPECT_EQ(options.lr, 0.5);
  EXPECT_EQ(options.optimizer, "sgd");
}

}  // namespace
}  // namespace moxie::train
