#pragma once
// What this machine can do at best, measured: the limits that speeds are divided by.
#include <cstdint>
#include <functional>

namespace moxie::cli {

struct MachineLimits {
  double gflops = 0;     // of an f32 matrix product that is large enough to be at its best
  double gigabytes = 0;  // a second, read from memory by all threads
};
MachineLimits measure_limits();

// Shortest time of one call, in seconds: after one call to warm up, at least `least` calls and at
// least `seconds` in all. The shortest, because other work on the machine only ever adds.
double shortest_time(const std::function<void()>& call, int least = 3, double seconds = 1.0);

}  // namespace moxie::cli
