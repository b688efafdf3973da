#include "base/threads.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <mutex>

#include "base/error.h"

namespace moxie {
namespace {

int initial_count() {
  if (const char* text = std::getenv("MOXIE_THREADS")) {
    const int count = std::atoi(text);
    if (count >= 1) return count;
  }
  return std::max(1, omp_get_num_procs());
}

std::atomic<int>& count_setting() {
  static std::atomic<int> count{initial_count()};
  return count;
}

}  // namespace

int thread_count() {
  return count_setting().load(std::memory_order_relaxed);
}

void set_thread_count(int count) {
  if (count < 1 || count > 4096) {
    fail(ErrorCode::kInvalidArgument, "threads", "{} threads asked for; choose 1 to 4096", count);
  }
  count_setting().store(count, std::memory_order_relaxed);
  omp_set_num_threads(count);
}

void parallel_for(int64_t count, int64_t grain, const std::function<void(int64_t, int64_t)>& body) {
  if (count <= 0) return;
  const int64_t parts =
      std::min<int64_t>(thread_count(), (count + grain - 1) / std::max<int64_t>(grain, 1));
  if (parts <= 1 || omp_in_parallel()) {
    body(0, count);
    return;
  }
  std::exception_ptr first;
  std::mutex guard;
#pragma omp parallel num_threads(static_cast <int>(parts))
  {
    const int64_t share = (count + omp_get_num_threads() - 1) / omp_get_num_threads();
    const int64_t begin = share * omp_get_thread_num();
    const int64_t end = std::min(count, begin + share);
    if (begin < end) {
      try {
        body(begin, end);
      } catch (...) {
        const std::lock_guard<std::mutex> lock(guard);
        if (!first) first = std::current_exception();
      }
    }
  }
  if (first) std::rethrow_exception(first);
}

}  // namespace moxie
