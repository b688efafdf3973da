#include "base/threads.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "base/error.h"

namespace moxie {
namespace {

constexpr int kMostThreads = 4096;

int processors() {  // that this process may use
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) != 0)
    return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  return std::max(1, CPU_COUNT(&set));
}

int initial_count() {
  if (const char* text = std::getenv("MOXIE_THREADS")) {
    const int count = std::atoi(text);
    if (count >= 1) return std::min(count, kMostThreads);
  }
  return std::min(processors(), kMostThreads);
}

std::atomic<int>& count_setting() {
  static std::atomic<int> count{initial_count()};
  return count;
}

thread_local bool runs_part = false;  // of a parallel_for

// Pieces of a part that nobody has taken: its own thread takes the first, others the last.
class alignas(64) Pieces {
 public:
  void reset(uint32_t count) { ends_.store(count, std::memory_order_relaxed); }
  // The number of a piece, or -1: there is none.
  int64_t take(bool first) {
    uint64_t ends = ends_.load(std::memory_order_relaxed);
    for (;;) {
      const uint64_t low = ends >> 32, high = ends & 0xFFFFFFFFu;
      if (low >= high) return -1;
      const uint64_t rest = first ? ends + (uint64_t{1} << 32) : ends - 1;
      if (ends_.compare_exchange_weak(ends, rest, std::memory_order_relaxed))
        return static_cast<int64_t>(first ? low : high - 1);
    }
  }

 private:
  std::atomic<uint64_t> ends_{0};
};

// One call of parallel_for or parallel_pieces.
class Work {
 public:
  Work(RangeBody body, int64_t count, int64_t parts)
      : body_(body), count_(count), parts_(parts), share_((count + parts - 1) / parts) {}

  // Deals the last `dealt` sixteenths of each part out in as many pieces.
  void deal_pieces(Pieces* pieces, int dealt) {
    const int64_t rest = share_ * dealt / 16;
    piece_ = std::max<int64_t>(1, (rest + dealt - 1) / dealt);
    const int64_t count = rest / piece_;
    whole_ = share_ - count * piece_;
    for (int64_t part = 0; part < parts_; ++part) pieces[part].reset(static_cast<uint32_t>(count));
    pieces_ = pieces;
  }

  void run(int64_t part) {
    runs_part = true;
    try {
      const int64_t begin = share_ * part;
      call(begin, begin + whole_);
      for (int64_t i = 0; pieces_ != nullptr && i < parts_; ++i) {
        const int64_t whose = (part + i) % parts_;
        for (int64_t piece; (piece = pieces_[whose].take(i == 0)) >= 0;) {
          const int64_t at = whose * share_ + whole_ + piece * piece_;
          call(at, at + piece_);
        }
      }
    } catch (...) {
      const std::lock_guard<std::mutex> lock(guard_);
      if (!failure_) failure_ = std::current_exception();
    }
    runs_part = false;
  }
  void rethrow() const {
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  void call(int64_t begin, int64_t end) const {
    end = std::min(count_, end);
    if (begin < end) body_(begin, end);
  }

  RangeBody body_;
  int64_t count_, parts_, share_;
  int64_t whole_ = share_, piece_ = 0;  // of a part: what is not dealt out, and a piece
  Pieces* pieces_ = nullptr;
  std::mutex guard_;
  std::exception_ptr failure_;
};

// Threads that look for work without pause for about a millisecond, and then sleep until there is
// some: the next product of a model comes within microseconds, and waking up takes fifty of them.
class Pool {
 public:
  // Runs parts [1, parts) of `work` on threads of the pool and part 0 on this one. False: they work
  // for another thread.
  bool run(Work& work, int parts, int dealt) {
    const std::unique_lock<std::mutex> lock(guard_, std::try_to_lock);
    if (!lock.owns_lock()) return false;
    while (threads_ < parts - 1) add_thread();
    if (dealt > 0) work.deal_pieces(pieces_.data(), dealt);
    spins_.store(threads_ < processors_ ? kSpins : 0, std::memory_order_relaxed);
    work_ = &work;
    left_.store(parts - 1, std::memory_order_relaxed);
    call_.store((call_.load() & ~kParts) + kParts + 1 + static_cast<uint32_t>(parts));
    call_.notify_all();
    work.run(0);
    for (int left = left_.load(); left != 0; left = left_.load()) wait_while(left_, left);
    return true;
  }

 private:
  void add_thread() {
    try {
      std::thread([this, index = threads_ + 1, seen = call_.load()] {
        serve(index, seen);
      }).detach();
    } catch (const std::system_error& error) {
      fail(ErrorCode::kIo, "threads", "the system gives {} threads and no more ({}); ask for fewer",
           threads_ + 1, error.what());
    }
    ++threads_;
    pieces_ = std::vector<Pieces>(static_cast<size_t>(threads_) + 1);
  }

  static constexpr int kSpins = 50'000;
  static constexpr uint32_t kParts = 8191;

  void serve(int index, uint32_t seen) {
    for (;;) {
      wait_while(call_, seen);
      seen = call_.load();
      // The caller waits for those that have a part in it, so that these find its work here.
      if (index >= static_cast<int>(seen & kParts)) continue;
      work_->run(index);
      if (left_.fetch_sub(1) == 1) left_.notify_one();
    }
  }

  template <class T>
  void wait_while(const std::atomic<T>& value, T old) const {
    for (int i = spins_.load(std::memory_order_relaxed); i > 0; --i) {
      if (value.load(std::memory_order_acquire) != old) return;
#ifdef __x86_64__
      __builtin_ia32_pause();
#endif
    }
    value.wait(old);
  }

  std::mutex guard_;  // held during a call
  int threads_ = 0;
  std::vector<Pieces> pieces_;  // of each part
  const int processors_ = processors();
  std::atomic<int> spins_{0};
  Work* work_ = nullptr;
  alignas(64) std::atomic<uint32_t> call_{0};  // its number, and in 13 bits its parts
  alignas(64) std::atomic<int> left_{0};       // parts of it that others have yet to do
};

Pool& pool() {
  static auto* instance = new Pool;  // never destroyed: its threads end with the process
  return *instance;
}

void run_on_all(int64_t count, int64_t grain, RangeBody body, int dealt) {
  if (count <= 0) return;
  const int64_t parts =
      std::min<int64_t>(thread_count(), (count + grain - 1) / std::max<int64_t>(grain, 1));
  if (parts > 1 && !runs_part) {
    Work work(body, count, parts);
    if (pool().run(work, static_cast<int>(parts), dealt)) return work.rethrow();
  }
  body(0, count);
}

}  // namespace

int thread_count() {
  return count_setting().load(std::memory_order_relaxed);
}

void set_thread_count(int count) {
  if (count < 1 || count > kMostThreads) {
    fail(ErrorCode::kInvalidArgument, "threads", "{} threads asked for; choose 1 to {}", count,
         kMostThreads);
  }
  count_setting().store(count, std::memory_order_relaxed);
}

void parallel_for(int64_t count, int64_t grain, RangeBody body) {
  run_on_all(count, grain, body, 0);
}

void parallel_pieces(int64_t count, int64_t grain, RangeBody body, int dealt) {
  run_on_all(count, grain, body, dealt);
}

}  // namespace moxie
