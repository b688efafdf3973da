// A run that was left anywhere and resumed has the bits of one that was not (D5, D10 to D13, D16 of
// docs/hardening.md).
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>

#include "io/checkpoint.h"
#include "toy.h"
#include "train/stop_signal.h"

namespace moxie::train {
namespace {

namespace fs = std::filesystem;

struct Trace {
  std::vector<float> values;
  std::vector<Json> metrics, evals;
  bool operator==(const Trace&) const = default;
};

Trace trace_of(ToyRun& run, const fs::path& folder) {
  return {run.objective.values(), read_timeless(folder / "metrics.jsonl"),
          read_timeless(folder / "eval.jsonl")};
}

void configure(ToyRun& run) {
  run.options.eval_every = 3;
  run.options.save_every = 5;
}

Trace uninterrupted() {
  TemporaryFolder folder;
  ToyRun run;
  configure(run);
  EXPECT_EQ(run.go(folder.path).outcome, Outcome::kFinished);
  return trace_of(run, folder.path);
}

// Runs until the stop flag has been asked `polls` times, then says yes.
TrainResult run_until(const fs::path& folder, int64_t polls, bool resume) {
  ToyRun run;
  configure(run);
  run.stop = [&polls] { return polls-- <= 0; };
  return run.go(folder, resume);
}

Trace resume_to_the_end(const fs::path& folder) {
  ToyRun run;
  configure(run);
  EXPECT_EQ(run.go(folder, true).outcome, Outcome::kFinished);
  return trace_of(run, folder);
}

bool holds_gradients(const fs::path& folder) {
  io::CheckpointStore store(folder / "checkpoints");
  const auto newest = store.newest();
  return newest && fs::exists(newest->path / "gradients.safetensors");
}

// Leaves a run in the second half, between two micro-batches of one step.
void leave_in_accumulation(const fs::path& folder) {
  for (int64_t polls = 50; !holds_gradients(folder); ++polls) {
    fs::remove_all(folder);
    ASSERT_EQ(run_until(folder, polls, false).outcome, Outcome::kInterrupted);
  }
}

TEST(Resume, IsBitExactWhereverTheRunWasLeft) {
  const Trace whole = uninterrupted();
  ASSERT_EQ(whole.metrics.size(), 12U);
  ASSERT_EQ(whole.evals.size(), 4U);
  int64_t left = 0, in_accumulation = 0, at_epoch_end = 0;
  for (int64_t polls = 0;; polls += 3) {
    TemporaryFolder folder;
    const TrainResult result = run_until(folder.path, polls, false);
    if (result.outcome == Outcome::kFinished) break;
    ++left;
    const bool has_gradients = holds_gradients(folder.path);
    in_accumulation += has_gradients ? 1 : 0;
    at_epoch_end += !has_gradients && result.step % 4 == 0 && result.step > 0 ? 1 : 0;
    EXPECT_EQ(read_lines(folder.path / "metrics.jsonl").size(), static_cast<size_t>(result.step));
    EXPECT_EQ(resume_to_the_end(folder.path), whole)
        << "left after " << polls << " polls, at step " << result.step;
  }
  EXPECT_GT(left, 20);
  EXPECT_GT(in_accumulation, 3);
  EXPECT_GT(at_epoch_end, 1);
}

TEST(Resume, IsBitExactThroughManyInterruptions) {
  TemporaryFolder folder;
  int64_t rounds = 0;
  while (run_until(folder.path, 23, rounds > 0).outcome == Outcome::kInterrupted) {
    ASSERT_LT(++rounds, 100);
  }
  EXPECT_GE(rounds, 3);
  EXPECT_EQ(resume_to_the_end(folder.path), uninterrupted());
}

// The newest checkpoint, published again in another folder with its state edited.
void republish(const fs::path& from, const fs::path& to, const std::function<void(Json&)>& edit) {
  io::CheckpointStore source(from / "checkpoints");
  const auto newest = source.newest();
  ASSERT_TRUE(newest);
  io::CheckpointStore target(to / "checkpoints");
  target.save(newest->step, [&](const fs::path& folder) {
    for (const auto& entry : fs::directory_iterator(newest->path)) {
      const auto name = entry.path().filename();
      if (entry.path().extension() == ".safetensors") fs::copy_file(entry.path(), folder / name);
    }
    Json state = read_json_file(newest->path / "state.json");
    edit(state);
    write_file_atomically(folder / "state.json", state.dump());
  });
  fs::copy_file(from / "metrics.jsonl", to / "metrics.jsonl");
  fs::copy_file(from / "eval.jsonl", to / "eval.jsonl");
}

TEST(Resume, NeedsEveryPartOfTheState) {
  const Trace whole = uninterrupted();
  TemporaryFolder folder;
  leave_in_accumulation(folder.path);
  TemporaryFolder same, other_rng, other_position;
  republish(folder.path, same.path, [](Json&) {});
  EXPECT_EQ(resume_to_the_end(same.path), whole);
  republish(folder.path, other_rng.path, [](Json& state) { state["state"]["rng"]["index"] = 999; });
  EXPECT_NE(resume_to_the_end(other_rng.path).values, whole.values);
  republish(folder.path, other_position.path, [](Json& state) {
    auto& done = state["state"]["accumulation"]["micro_batches"];
    done = done.get<int64_t>() + 1;
  });
  EXPECT_NE(resume_to_the_end(other_position.path).values, whole.values);
}

TEST(Resume, StateHoldsWhatTheRulesAskFor) {
  TemporaryFolder folder;
  const TrainResult result = run_until(folder.path, 31, false);
  io::CheckpointStore store(folder.path / "checkpoints");
  const Json json = read_json_file(store.newest()->path / "state.json");
  const Json& state = json["state"];
  EXPECT_EQ(state["step"], result.step);
  EXPECT_EQ(state["epoch"], result.step / 4);
  EXPECT_EQ(state["batch_cursor"], result.step % 4 * 6);
  EXPECT_EQ(state["tokens_seen"], result.tokens_seen);
  EXPECT_GT(state["rng"]["index"], 0);
  EXPECT_EQ(state["evaluation"]["best_step"].get<int64_t>(), result.best_step);
  EXPECT_EQ(json["schedule"]["total_steps"], 12);
  EXPECT_EQ(json["facts"]["data"], ToySource(20, 1).fingerprint());
}

TEST(Resume, RefusesAnotherConfigurationWithBothFacts) {
  TemporaryFolder folder;
  ASSERT_EQ(run_until(folder.path, 20, false).outcome, Outcome::kInterrupted);
  struct Case {
    std::function<void(ToyRun&)> change;
    std::vector<std::string> words;
  };
  const std::string other_data = ToySource(20, 9).fingerprint();
  const std::vector<Case> cases = {
      {[](ToyRun& run) { run.options.lr = 0.03; }, {"learning rate was 0.02", "is 0.03 now"}},
      {[](ToyRun& run) { run.options.epochs = 4; }, {"total steps was 12", "is 16 now"}},
      {[](ToyRun& run) {
         run.options.batch_size = 6;
         run.options.accumulate = 1;
       },
       {"accumulated batches was 2", "is 1 now"}},
      {[](ToyRun& run) { run.options.optimizer = "sgd"; }, {"optimizer was adamw", "is sgd now"}},
      {[](ToyRun& run) { run.facts["model"] = "giant"; }, {"model was toy", "is giant now"}},
      {[](ToyRun& run) { run.facts["adapter"] = "r=16"; }, {"adapter was (not given)", "is r=16"}},
      {[](ToyRun& run) { run.data = ToySource(20, 9); }, {"data was", other_data}},
  };
  for (const Case& test : cases) {
    ToyRun run;
    configure(run);
    test.change(run);
    try {
      run.go(folder.path, true);
      ADD_FAILURE() << "went on although " << test.words[0];
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      for (const auto& word : test.words) {
        EXPECT_NE(error.message().find(word), std::string::npos) << error.what();
      }
    }
  }
  EXPECT_EQ(resume_to_the_end(folder.path), uninterrupted());
}

TEST(Resume, AnotherOrderOfTheSameDataIsRefused) {
  struct Reversed : ToySource {
    using ToySource::ToySource;
    std::vector<int64_t> order(int64_t epoch) const override {
      auto indices = ToySource::order(epoch);
      return {indices.rbegin(), indices.rend()};
    }
  };
  TemporaryFolder folder;
  ASSERT_EQ(run_until(folder.path, 20, false).outcome, Outcome::kInterrupted);
  ToyRun run;
  configure(run);
  const Reversed reversed(20, 1);
  TrainSetup setup;
  setup.objective = &run.objective;
  setup.data = &reversed;
  setup.held_out = &run.held_out;
  setup.optimizer = require_row(optim::optimizers(), "optimizer", "adamw")->create();
  setup.folder = folder.path;
  setup.facts = run.facts;
  Trainer trainer(run.options, std::move(setup));
  EXPECT_THROW(trainer.run(true), Error);
}

TEST(Resume, WithoutACheckpointStartsAfresh) {
  TemporaryFolder folder;
  std::ofstream(folder.path / "metrics.jsonl") << "{\"step\":1,\"loss\":9}\n{\"step\":2,\"lo";
  EXPECT_EQ(resume_to_the_end(folder.path), uninterrupted());
}

TEST(Resume, ADamagedCheckpointGivesWayToTheOneBefore) {
  TemporaryFolder folder;
  ASSERT_EQ(run_until(folder.path, 45, false).outcome, Outcome::kInterrupted);
  io::CheckpointStore store(folder.path / "checkpoints");
  const auto newest = store.newest();
  ASSERT_TRUE(newest);
  fs::resize_file(newest->path / "params.safetensors", 40);
  EXPECT_EQ(resume_to_the_end(folder.path), uninterrupted());
  EXPECT_TRUE(fs::exists(newest->path.string() + ".corrupt"));
}

TEST(Resume, AFullDiskFailsLoudlyAndLeavesTheOldCheckpointWhole) {
  TemporaryFolder folder;
  const auto go = [&](bool resume, int64_t polls) {
    ToyRun run;
    configure(run);
    run.facts["ballast"] = std::string(20000, 'x');  // state.json outgrows the logs
    run.stop = [&polls] { return polls-- <= 0; };
    run.go(folder.path, resume);
    return trace_of(run, folder.path);
  };
  go(false, 40);
  const int64_t step = io::CheckpointStore(folder.path / "checkpoints").newest()->step;
  rlimit usual{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &usual), 0);
  auto* const previous = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = usual;
  small.rlim_cur = 15000;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  std::string message = "(no error)";
  ErrorCode code{};
  try {
    go(true, 1 << 20);
  } catch (const Error& error) {
    message = error.what();
    code = error.code();
  }
  ::setrlimit(RLIMIT_FSIZE, &usual);
  std::signal(SIGXFSZ, previous);
  EXPECT_EQ(code, ErrorCode::kIo) << message;
  EXPECT_NE(message.find("state.json"), std::string::npos) << message;
  io::CheckpointStore store(folder.path / "checkpoints");
  ASSERT_TRUE(store.newest());
  EXPECT_EQ(store.newest()->step, step);
  for (const auto& entry : fs::recursive_directory_iterator(folder.path)) {
    EXPECT_FALSE(is_temporary_name(entry.path().filename().string())) << entry.path();
  }
  EXPECT_EQ(go(true, 1 << 20), uninterrupted());
}

TEST(StopSignal, SavesAndLeaves) {
  for (const int number : {SIGINT, SIGTERM}) {
    TemporaryFolder folder;
    ToyRun run;
    configure(run);
    struct Sender : Callback {
      int number = 0;
      void on_step(const StepMetrics& metrics, int64_t, double) override {
        if (metrics.step == 7) std::raise(number);
      }
    } sender;
    sender.number = number;
    run.callbacks = {&sender};
    const StopSignal signal;
    run.stop = StopSignal::requested;
    EXPECT_FALSE(StopSignal::requested());
    const TrainResult result = run.go(folder.path);
    EXPECT_EQ(result.outcome, Outcome::kInterrupted);
    EXPECT_EQ(result.step, 7);
    EXPECT_EQ(run.trainer->checkpoints().list().back().step, 7);
    EXPECT_EQ(resume_to_the_end(folder.path), uninterrupted());
  }
}

TEST(StopSignalDeathTest, ASecondSignalExitsAtOnce) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        const StopSignal signal;
        std::raise(SIGTERM);
        std::raise(SIGTERM);
        std::_Exit(0);
      },
      testing::ExitedWithCode(128 + SIGTERM), "");
}

TEST(StopSignal, GivesTheHandlersBack) {
  auto* const before = std::signal(SIGINT, SIG_DFL);
  { const StopSignal signal; }
  EXPECT_EQ(std::signal(SIGINT, before), SIG_DFL);
}

}  // namespace
}  // namespace moxie::train
