#pragma once
// Time and memory of this process.
#include <chrono>
#include <cstdint>
#include <string>

namespace moxie {

class Stopwatch {
 public:
  Stopwatch() : start_(std::chrono::steady_clock::now()) {}
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_;
};

uint64_t peak_rss_bytes();  // the most this process has held so far
struct HeldMemory {
  uint64_t own = 0, mapped = 0;  // bytes: allocated; pages of files
};
HeldMemory held_memory();     // now
std::string utc_timestamp();  // "2026-01-31T12:00:00Z"

}  // namespace moxie
