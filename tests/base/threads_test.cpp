#include "base/threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

#include "base/error.h"

namespace moxie {
namespace {

using Run = void (*)(int64_t, int64_t, RangeBody);

struct Case {
  const char* name;
  Run run;
};
constexpr Case kCases[] = {
    {"parallel_for", parallel_for},
    {"parallel_pieces",
     [](int64_t count, int64_t grain, RangeBody body) { parallel_pieces(count, grain, body); }},
    {"parallel_pieces of all",
     [](int64_t count, int64_t grain, RangeBody body) { parallel_pieces(count, grain, body, 16); }},
};

class Threads : public testing::Test {
 protected:
  ~Threads() override { set_thread_count(before_); }

 private:
  const int before_ = thread_count();
};

// How often each number below `count` was in a range.
std::vector<int> visits(Run run, int64_t count, int64_t grain) {
  std::vector<std::atomic<int>> seen(static_cast<size_t>(count));
  run(count, grain, [&](int64_t begin, int64_t end) {
    EXPECT_LT(begin, end);
    for (int64_t i = begin; i < end; ++i) ++seen[static_cast<size_t>(i)];
  });
  return {seen.begin(), seen.end()};
}

bool becomes(const std::atomic<int>& value, int wanted) {
  const auto stop = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (value < wanted && std::chrono::steady_clock::now() < stop) std::this_thread::yield();
  return value == wanted;
}

TEST_F(Threads, EveryNumberIsVisitedOnce) {
  for (const Case& c : kCases) {
    for (const int threads : {1, 2, 3, 5, 16}) {
      set_thread_count(threads);
      for (const int64_t count : {0, 1, 2, 3, 7, 16, 17, 100, 1023}) {
        for (const int64_t grain : {0, 1, 3, 50, 2000}) {
          EXPECT_EQ(visits(c.run, count, grain), std::vector<int>(static_cast<size_t>(count), 1))
              << c.name << ", " << threads << " threads, " << count << " by " << grain;
        }
      }
    }
  }
}

TEST_F(Threads, RangesAreAsLongAsAskedAndRunAtOnce) {
  set_thread_count(4);
  std::atomic<int> calls = 0;
  parallel_for(10, 3, [&](int64_t begin, int64_t end) {
    EXPECT_TRUE(end - begin == 3 || end == 10);
    ++calls;
    EXPECT_TRUE(becomes(calls, 4));
  });
  EXPECT_EQ(calls, 4);
}

// The first range waits until another thread has done everything else, its own last pieces too.
TEST_F(Threads, PiecesOfASlowThreadAreTakenByOthers) {
  set_thread_count(2);
  for (const int dealt : {4, 8}) {
    const int own = 32 - 2 * dealt;
    std::atomic<int> done = 0;
    const auto body = [&](int64_t begin, int64_t end) {
      if (begin == 0) {
        EXPECT_EQ(end, own);
        EXPECT_TRUE(becomes(done, 64 - own));
      }
      done += static_cast<int>(end - begin);
    };
    parallel_pieces(64, 1, body, dealt);
    EXPECT_EQ(done, 64);
  }
}

TEST_F(Threads, AnExceptionComesBackAndTheThreadsGoOn) {
  set_thread_count(3);
  for (const Case& c : kCases) {
    for (const int64_t bad : {0, 50, 99}) {
      EXPECT_THROW(c.run(100, 1,
                         [&](int64_t begin, int64_t end) {
                           if (begin <= bad && bad < end) throw std::runtime_error("bad");
                         }),
                   std::runtime_error)
          << c.name << ' ' << bad;
      EXPECT_EQ(visits(c.run, 100, 1), std::vector<int>(100, 1));
    }
  }
}

TEST_F(Threads, ACallFromWithinARangeRunsAlone) {
  set_thread_count(2);
  std::atomic<int> inner = 0;
  parallel_for(2, 1, [&](int64_t, int64_t) {
    const auto self = std::this_thread::get_id();
    for (const Case& c : kCases) {
      c.run(10, 1, [&](int64_t begin, int64_t end) {
        EXPECT_EQ(begin, 0);
        EXPECT_EQ(end, 10);
        EXPECT_EQ(std::this_thread::get_id(), self);
        ++inner;
      });
    }
  });
  EXPECT_EQ(inner, 2 * std::size(kCases));
}

TEST_F(Threads, SeveralThreadsMayCallAtOnce) {
  set_thread_count(3);
  std::atomic<int> wrong = 0;
  const auto call = [&] {
    for (int i = 0; i < 200; ++i) {
      for (const Case& c : kCases) {
        if (visits(c.run, 50, 1) != std::vector<int>(50, 1)) ++wrong;
      }
    }
  };
  std::thread other(call);
  call();
  other.join();
  EXPECT_EQ(wrong, 0);
}

// Long enough for the threads to fall asleep in between.
TEST_F(Threads, SleepingThreadsWakeUp) {
  set_thread_count(2);
  for (int i = 0; i < 3; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    std::atomic<int> calls = 0;
    parallel_for(2, 1, [&](int64_t, int64_t) {
      ++calls;
      EXPECT_TRUE(becomes(calls, 2));
    });
  }
}

TEST_F(Threads, ACountOutOfRangeIsRefused) {
  for (const int count : {0, -1, 4097}) EXPECT_THROW(set_thread_count(count), Error) << count;
}

}  // namespace
}  // namespace moxie
