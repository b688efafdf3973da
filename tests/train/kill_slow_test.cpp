// A run is killed (SIGKILL) a hundred times at random moments, resumed each time, and must end with
// the bits of one that was left alone. The run is this binary again, with a folder in its
// environment.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <thread>

#include "toy.h"

extern char** environ;

namespace moxie::train {
namespace {

namespace fs = std::filesystem;
constexpr int kKills = 100;
constexpr uint64_t kLongestLifeMicroseconds = 120000;
constexpr const char* kFolderVariable = "MOXIE_TOY_RUN_FOLDER";

void configure(ToyRun& run) {
  run.options.epochs = 100;  // 400 steps
  run.options.save_every = 2;
  run.options.eval_every = 10;
}

TEST(ToyRunChild, TrainsInTheFolderItIsGiven) {
  const char* folder = std::getenv(kFolderVariable);
  if (folder == nullptr) GTEST_SKIP() << "runs only as a child of KillTest";
  ToyRun run;
  configure(run);
  EXPECT_EQ(run.go(folder, true).outcome, Outcome::kFinished);
}

pid_t start_child(const fs::path& folder) {
  ::setenv(kFolderVariable, folder.c_str(), 1);
  std::string program = fs::read_symlink("/proc/self/exe").string();
  std::string filter = "--gtest_filter=ToyRunChild.*";
  char* arguments[] = {program.data(), filter.data(), nullptr};
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  ::posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  pid_t child = 0;
  const int status = ::posix_spawn(&child, program.c_str(), &actions, nullptr, arguments, environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::unsetenv(kFolderVariable);
  MOXIE_ASSERT(status == 0);
  return child;
}

// True when the child was killed before its end.
bool kill_after(pid_t child, std::chrono::microseconds delay) {
  std::this_thread::sleep_for(delay);
  ::kill(child, SIGKILL);
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0) << "a resumed run failed";
  return WIFSIGNALED(status);
}

bool holds_checkpoint(const fs::path& folder) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder / "checkpoints", ignored)) {
    if (entry.path().filename().string().starts_with("step-")) return true;
  }
  return false;
}

TEST(KillTest, AHundredKillsChangeNoBit) {
  TemporaryFolder whole_folder;
  ToyRun whole;
  configure(whole);
  whole.go(whole_folder.path);
  const auto metrics = read_timeless(whole_folder.path / "metrics.jsonl");
  const auto evals = read_timeless(whole_folder.path / "eval.jsonl");

  Rng rng(static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count()));
  int kills = 0, kills_with_checkpoint = 0, runs = 0;
  while (kills < kKills) {
    TemporaryFolder folder;
    while (kills < kKills) {
      // Some children die before they begin, some while they train, some while they save.
      const std::chrono::microseconds delay(rng.below(kLongestLifeMicroseconds));
      if (!kill_after(start_child(folder.path), delay)) break;
      ++kills;
      kills_with_checkpoint += holds_checkpoint(folder.path) ? 1 : 0;
    }
    ToyRun last;
    configure(last);
    last.go(folder.path, true);
    ASSERT_EQ(last.objective.values(), whole.objective.values()) << "seed " << rng.seed();
    ASSERT_EQ(read_timeless(folder.path / "metrics.jsonl"), metrics) << "seed " << rng.seed();
    ASSERT_EQ(read_timeless(folder.path / "eval.jsonl"), evals) << "seed " << rng.seed();
    ++runs;
  }
  EXPECT_EQ(kills, kKills);
  EXPECT_GT(kills_with_checkpoint, kKills / 4) << "the children died too young to test anything";
  std::cout << kills << " kills over " << runs << " runs\n";
}

}  // namespace
}  // namespace moxie::train
