// Rules D1 to D10 of docs/hardening.md on CheckpointStore: what is published is whole, whatever the
// disk, the clock or a signal does.
#include "io/checkpoint.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/files.h"
#include "base/rng.h"
#include "bytes.h"

namespace {
int fsync_fails_at = 0;  // the n-th call from now fails; 0: none
int fsync_calls = 0;
}  // namespace

// Stands in for the C library's, so that a test can play a failing disk.
extern "C" int fsync(int fd) {
  ++fsync_calls;
  if (fsync_fails_at > 0 && --fsync_fails_at == 0) {
    errno = EIO;
    return -1;
  }
  return static_cast<int>(::syscall(SYS_fsync, fd));
}

namespace moxie::io {
namespace {
namespace fs = std::filesystem;

void fill_with(int64_t step, const fs::path& folder) {
  write_file_atomically(folder / "weights", std::string(20000, static_cast<char>('a' + step % 26)));
  fs::create_directory(folder / "optimizer");
  write_file_atomically(folder / "optimizer" / "state", std::to_string(step));
  write_file_atomically(folder / "empty", "");
}

void save(CheckpointStore& store, int64_t step) {
  store.save(step, [&](const fs::path& folder) { fill_with(step, folder); });
}

void expect_whole(const CheckpointRef& checkpoint) {
  EXPECT_EQ(read_text(checkpoint.path / "weights"),
            std::string(20000, static_cast<char>('a' + checkpoint.step % 26)));
  EXPECT_EQ(read_text(checkpoint.path / "optimizer/state"), std::to_string(checkpoint.step));
}

std::vector<int64_t> steps(const CheckpointStore& store) {
  std::vector<int64_t> out;
  for (const auto& checkpoint : store.list()) out.push_back(checkpoint.step);
  return out;
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> out;
  for (const auto& entry : fs::directory_iterator(folder)) out.push_back(entry.path().filename());
  std::sort(out.begin(), out.end());
  return out;
}

TEST(Checkpoint, SaveListNewestRequire) {
  const TempFolder folder;
  CheckpointStore store(folder / "checkpoints");
  EXPECT_EQ(store.newest(), std::nullopt);
  save(store, 5);
  save(store, 123456789);
  EXPECT_EQ(steps(store), (std::vector<int64_t>{5, 123456789}));
  EXPECT_EQ(store.list()[0].path.filename(), "step-000005");
  expect_whole(store.newest().value());
  EXPECT_EQ(store.newest()->step, 123456789);
  expect_whole(store.require(5));
  expect_error(ErrorCode::kInvalidArgument, "negative", [&] { save(store, -1); });
  expect_error(ErrorCode::kInvalidArgument, "at least 2",
               [&] { CheckpointStore(folder / "checkpoints", 1); });
}

TEST(Checkpoint, D1D2AFailedSyncIsAFailedSaveAndIsNotRetried) {
  const TempFolder folder;
  CheckpointStore store(folder.path());
  save(store, 1);
  fsync_calls = 0;
  save(store, 2);
  const int calls = fsync_calls;  // of a whole save
  EXPECT_GE(calls, 10);           // three files twice, three folders, the manifest
  for (int n = 1; n <= calls; ++n) {
    fsync_calls = 0;
    fsync_fails_at = n;
    expect_error(ErrorCode::kIo, "Input/output error", [&] { save(store, 3); });
    EXPECT_EQ(fsync_calls, n) << "something was synced after the failure";
    EXPECT_EQ(names_in(folder.path()), (std::vector<std::string>{"step-000001", "step-000002"}));
  }
  fsync_fails_at = 0;
  save(store, 3);
  EXPECT_EQ(store.newest()->step, 3);
}

TEST(Checkpoint, D3WithoutAManifestThereIsNoCheckpoint) {
  const TempFolder folder;
  {
    CheckpointStore store(folder.path());
    save(store, 1);
    save(store, 2);
    store.save(3, [&](const fs::path& inside) {
      EXPECT_EQ(steps(store), (std::vector<int64_t>{1, 2}));
      EXPECT_FALSE(fs::exists(inside / "manifest.json"));
      fill_with(3, inside);
    });
    fs::remove(folder / "step-000003/manifest.json");
    EXPECT_EQ(store.newest()->step, 2);
    expect_error(ErrorCode::kNotFound, "no step 3; it has 2", [&] { store.require(3); });
    expect_error(ErrorCode::kInvalidArgument, "manifest.json", [&] {
      store.save(4, [](const fs::path& inside) { put_file(inside / "manifest.json", "{}"); });
    });
  }
  CheckpointStore again(folder.path());
  EXPECT_FALSE(fs::exists(folder / "step-000003"));
}

TEST(Checkpoint, D4ALiveCheckpointIsNotOverwritten) {
  const TempFolder folder;
  CheckpointStore store(folder.path());
  save(store, 1);
  store.save(1, [](const fs::path&) { FAIL() << "the step was there"; });
  expect_whole(store.require(1));
}

TEST(Checkpoint, D5AMissingStepIsAnError) {
  const TempFolder folder;
  CheckpointStore store(folder.path());
  expect_error(ErrorCode::kNotFound, "it has none", [&] { store.require(1); });
  save(store, 10);
  expect_error(ErrorCode::kNotFound, "it has 10", [&] { store.require(1); });
}

TEST(Checkpoint, D7KeepsTheNewestAndTheBest) {
  const TempFolder folder;
  CheckpointStore store(folder.path(), 2);
  save(store, 1);
  store.mark_best(1);
  for (int64_t step = 2; step <= 5; ++step) save(store, step);
  EXPECT_EQ(steps(store), (std::vector<int64_t>{1, 4, 5}));
  store.mark_best(5);
  save(store, 6);
  EXPECT_EQ(steps(store), (std::vector<int64_t>{5, 6}));
}

TEST(Checkpoint, D7OnlyValidOnesCount) {
  const TempFolder folder;
  CheckpointStore store(folder.path(), 2);
  for (int64_t step = 1; step <= 2; ++step) save(store, step);
  put_file(folder / "step-000002/weights", "cut");
  save(store, 3);
  EXPECT_EQ(steps(store), (std::vector<int64_t>{1, 2, 3}));  // 1 and 3 are the two that count
  save(store, 4);
  EXPECT_EQ(store.newest()->step, 4);
  expect_whole(store.require(3));
}

TEST(Checkpoint, D8OrphansAreCleanedAtTheStart) {
  const TempFolder folder;
  {
    CheckpointStore store(folder.path());
    save(store, 1);
  }
  fs::create_directories(folder / "step-000002.moxie-tmp-77/deep");
  put_file(folder / "best.moxie-tmp-77-0", "2");
  put_file(folder / "notes.txt", "the user's own");
  CheckpointStore store(folder.path());
  EXPECT_EQ(names_in(folder.path()), (std::vector<std::string>{"notes.txt", "step-000001"}));
}

TEST(Checkpoint, D8ADanglingBestIsCleared) {
  const TempFolder folder;
  CheckpointStore store(folder.path());
  EXPECT_EQ(store.best(), std::nullopt);
  expect_error(ErrorCode::kNotFound, "step 7", [&] { store.mark_best(7); });
  save(store, 7);
  store.mark_best(7);
  EXPECT_EQ(store.best(), 7);
  fs::remove_all(folder / "step-000007");
  EXPECT_EQ(store.best(), std::nullopt);
  EXPECT_FALSE(fs::exists(folder / "best"));
  put_file(folder / "best", "../../etc");
  EXPECT_EQ(CheckpointStore(folder.path()).best(), std::nullopt);
}

TEST(Checkpoint, D9AFullDiskLeavesTheOldOne) {
  const TempFolder folder;
  CheckpointStore store(folder.path());
  save(store, 1);
  rlimit old{};
  ::getrlimit(RLIMIT_FSIZE, &old);
  const rlimit small{10000, old.rlim_max};
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  ::setrlimit(RLIMIT_FSIZE, &small);
  expect_error(ErrorCode::kIo, "File too large", [&] { save(store, 2); });
  ::setrlimit(RLIMIT_FSIZE, &old);
  ::signal(SIGXFSZ, handler);
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"step-000001"});
  expect_whole(store.newest().value());
}

TEST(Checkpoint, D9AFullFileSystemLeavesTheOldOne) {
  const TempFolder folder;
  if (::mount("none", folder.path().c_str(), "tmpfs", 0, "size=64k") != 0) {
    GTEST_SKIP() << "mounting a tiny file system is not allowed here";
  }
  {
    CheckpointStore store(folder.path());
    save(store, 1);
    expect_error(ErrorCode::kIo, "No space left", [&] {
      for (int64_t step = 2; step < 5; ++step) save(store, step);
    });
    EXPECT_GE(store.newest()->step, 1);
    for (const auto& checkpoint : store.list()) expect_whole(checkpoint);
    for (const auto& name : names_in(folder.path())) EXPECT_FALSE(is_temporary_name(name));
  }
  ::umount2(folder.path().c_str(), MNT_DETACH);
}

TEST(Checkpoint, D9AnErrorOfTheWriterPassesOnAndLeavesNothing) {
  const TempFolder folder;
  CheckpointStore store(folder.path());
  EXPECT_THROW(store.save(1,
                          [](const fs::path& inside) {
                            put_file(inside / "half", "x");
                            throw std::bad_alloc();
                          }),
               std::bad_alloc);
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(Checkpoint, D10CorruptOnesAreSetAside) {
  const auto damage = [](auto&& how) {
    const TempFolder folder;
    CheckpointStore store(folder.path());
    save(store, 1);
    save(store, 2);
    how(folder / "step-000002");
    expect_error(ErrorCode::kCorruptData, "", [&] { store.require(2); });
    EXPECT_EQ(store.newest()->step, 1);
    EXPECT_EQ(names_in(folder.path()),
              (std::vector<std::string>{"step-000001", "step-000002.corrupt"}));
    EXPECT_EQ(CheckpointStore(folder.path()).newest()->step, 1);  // and stays aside
    save(store, 2);
    how(folder / "step-000002");
    EXPECT_EQ(store.newest()->step, 1);
    EXPECT_TRUE(fs::exists(folder / "step-000002.corrupt-2"));
  };
  damage([](const fs::path& at) {
    std::string text = read_text(at / "weights");
    text[12345] ^= 1;
    put_file(at / "weights", text);
  });
  damage([](const fs::path& at) { fs::resize_file(at / "weights", 19999); });
  damage([](const fs::path& at) { fs::remove(at / "optimizer/state"); });
  damage([](const fs::path& at) { put_file(at / "manifest.json", "{"); });
  damage([](const fs::path& at) { put_file(at / "manifest.json", "[]"); });
  damage([](const fs::path& at) {
    put_file(at / "manifest.json", R"({"format":1,"step":9,"files":{}})");
  });
  damage([](const fs::path& at) {
    put_file(at / "manifest.json",
             R"({"format":1,"step":2,"files":{"../step-000001/weights":{"size":1,"sha256":""}}})");
  });
}

// A child saves step after step and reports each that save() returned for; it dies at a random
// moment. What was reported is there, what is there is whole, and no litter stays.
TEST(Checkpoint, D1KilledAtAnyMoment) {
  const TempFolder folder;
  Rng rng(7);
  int64_t reported = 0, next = 1;
  // On a slow disk few saves are reported between two kills: then there are more rounds.
  for (int round = 0; round < 40 || (reported <= 10 && round < 1000); ++round) {
    int pipe_ends[2];
    ASSERT_EQ(::pipe(pipe_ends), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      CheckpointStore store(folder.path());
      for (int64_t step = next;; ++step) {
        save(store, step);
        if (::write(pipe_ends[1], &step, sizeof(step)) < 0) ::_exit(1);
      }
    }
    ::close(pipe_ends[1]);
    ::usleep(static_cast<useconds_t>(1000 + rng.below(60000)));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    for (int64_t step; ::read(pipe_ends[0], &step, sizeof(step)) == sizeof(step);) reported = step;
    ::close(pipe_ends[0]);

    CheckpointStore store(folder.path());
    const auto newest = store.newest();
    ASSERT_EQ(newest.has_value(), !store.list().empty());
    ASSERT_GE(newest ? newest->step : 0, reported);
    for (const auto& checkpoint : store.list()) expect_whole(checkpoint);
    for (const auto& name : names_in(folder.path())) {
      ASSERT_EQ(name.size(), std::string("step-000001").size()) << name;
    }
    next = newest ? newest->step + 1 : 1;
  }
  EXPECT_GT(reported, 10);
}

}  // namespace
}  // namespace moxie::io
