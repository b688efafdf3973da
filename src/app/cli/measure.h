#pragma once
// What this machine can do at best, measured: the limits that speeds are divided by.
#include <cstdint>
#include <functional>

namespace moxie::cli {

struct MachineLimits {
  double fma_gflops = 0;  // f32 multiply-adds on operands in L1, on all threads: never reached
  double f32_gflops = 0;  // of a large f32 product, by the better of our kernel and oneDNN's
  double bf16_gflops =
      0;  // of oneDNN's packed bf16 product; 0 where the CPU has no such instruction
  double int16_gflops = 0;  // of a large product in 16-bit integers; 0 where f32 is as fast
  double gigabytes = 0;     // a second, read from memory by all threads
};
MachineLimits measure_limits();

// Shortest time of one call, in seconds: after one call to warm up, at least `least` calls and at
// least `seconds` in all. The shortest, because other work on the machine only ever adds.
double shortest_time(const std::function<void()>& call, int least = 3, double seconds = 0.5);

}  // namespace moxie::cli
