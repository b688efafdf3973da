// The diary of runs: what is written is read, and trouble with the file never reaches the run.
#include "recipes/runs.h"

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "base/error.h"

namespace moxie::recipes {
namespace {

class Runs : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "moxie-runs-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    ::setenv("XDG_DATA_HOME", folder_.c_str(), 1);
  }
  void TearDown() override {
    std::filesystem::remove_all(folder_);
    ::unsetenv("XDG_DATA_HOME");
  }

  static RunRecord some_run(const std::string& model) {
    RunRecord run;
    run.verb = "tune";
    run.model = model;
    run.method = "lora";
    run.out = "out";
    run.config = {{"lr", 2e-4}, {"data", {"a", "b"}}};
    return run;
  }

  std::filesystem::path folder_;
};

TEST_F(Runs, WhatIsWrittenIsRead) {
  EXPECT_TRUE(list_runs().empty());
  RunRecorder first(some_run("one'; DROP TABLE runs; --"));
  RunRecorder second(some_run("two"));
  ASSERT_GT(second.id(), first.id());
  second.finish("done", {{"loss", 0.5}});
  const auto runs = list_runs();
  ASSERT_EQ(runs.size(), 2u);
  EXPECT_EQ(runs[0].model, "two");
  EXPECT_EQ(runs[0].status, "done");
  EXPECT_EQ(runs[0].metrics["loss"], 0.5);
  EXPECT_EQ(runs[0].config, some_run("two").config);
  EXPECT_NE(runs[0].finished, "");
  EXPECT_NE(runs[0].version, "");
  EXPECT_EQ(runs[1].model, "one'; DROP TABLE runs; --");
  EXPECT_EQ(runs[1].status, "running");
  EXPECT_EQ(list_runs(1).size(), 1u);
  EXPECT_EQ(require_run(first.id()).method, "lora");
  EXPECT_THROW(require_run(99), Error);
  forget_run(second.id());
  EXPECT_EQ(list_runs().size(), 1u);
}

TEST_F(Runs, LeavingWithoutFinishIsAFailure) {
  { const RunRecorder run(some_run("m")); }
  EXPECT_EQ(list_runs().at(0).status, "failed");
}

TEST_F(Runs, AKilledRunIsLost) {
  const pid_t child = ::fork();
  if (child == 0) {
    const RunRecorder run(some_run("m"));
    ::_exit(0);  // without destructors, as a kill would
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(list_runs().at(0).status, "lost");
}

TEST_F(Runs, AnUnusableFileOnlyWarns) {
  std::filesystem::create_directories(runs_file().parent_path());
  std::ofstream(runs_file()) << std::string(4096, 'x');
  RunRecorder run(some_run("m"));
  EXPECT_EQ(run.id(), 0);
  run.finish("done", Json::object());
  try {
    list_runs();
    FAIL() << "a damaged file was read";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCorruptData) << error.what();
  }
}

TEST_F(Runs, AFolderThatCannotBeMadeOnlyWarns) {
  std::ofstream(folder_ / "moxie") << "a file where the folder should be";
  const RunRecorder run(some_run("m"));
  EXPECT_EQ(run.id(), 0);
}

TEST_F(Runs, ALockedFileOnlyWarns) {
  { const RunRecorder run(some_run("first")); }
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(runs_file().c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "BEGIN EXCLUSIVE", nullptr, nullptr, nullptr), SQLITE_OK);
  const RunRecorder blocked(some_run("second"));
  EXPECT_EQ(blocked.id(), 0);
  sqlite3_close(other);
  EXPECT_EQ(list_runs().size(), 1u);
}

TEST_F(Runs, ANewerFileIsLeftAlone) {
  { const RunRecorder run(some_run("first")); }
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(runs_file().c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "PRAGMA user_version = 7", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(other);
  EXPECT_EQ(RunRecorder(some_run("second")).id(), 0);
  EXPECT_THROW(list_runs(), Error);
}

}  // namespace
}  // namespace moxie::recipes
