#include "app/cli/measure.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <vector>

#include "base/clock.h"
#include "base/threads.h"
#include "kernels/gemm.h"

namespace moxie::cli {
namespace {

double best_gflops() {
  constexpr int64_t kRows = 512;
  constexpr int64_t kDim = 1536;
  const std::vector<float> a(static_cast<size_t>(kRows * kDim), 0.5f);
  const std::vector<float> b(static_cast<size_t>(kDim * kDim), 0.25f);
  std::vector<float> c(static_cast<size_t>(kRows * kDim));
  const double seconds =
      shortest_time([&] { kernels::gemm_nt(kRows, kDim, kDim, a.data(), b.data(), c.data()); });
  return 2.0 * kRows * kDim * kDim / seconds / 1e9;
}

double best_bandwidth() {
  // Larger than any cache it could hide in.
  const std::vector<uint64_t> data(size_t{512} << 17, 1);  // 512 MiB
  std::atomic<uint64_t> sink{0};
  const double seconds = shortest_time([&] {
    parallel_for(static_cast<int64_t>(data.size()), 1 << 16, [&](int64_t begin, int64_t end) {
      uint64_t sums[8] = {};
      for (int64_t i = begin; i + 8 <= end; i += 8) {
        for (int64_t k = 0; k < 8; ++k) sums[k] += data[static_cast<size_t>(i + k)];
      }
      uint64_t sum = 0;
      for (const uint64_t part : sums) sum += part;
      sink += sum;
    });
  });
  return static_cast<double>(data.size() * sizeof(uint64_t)) / seconds / 1e9;
}

}  // namespace

double shortest_time(const std::function<void()>& call, int least, double seconds) {
  call();
  double best = std::numeric_limits<double>::infinity();
  const Stopwatch all;
  for (int i = 0; i < least || all.seconds() < seconds; ++i) {
    const Stopwatch one;
    call();
    best = std::min(best, one.seconds());
  }
  return best;
}

MachineLimits measure_limits() {
  return {best_gflops(), best_bandwidth()};
}

}  // namespace moxie::cli
