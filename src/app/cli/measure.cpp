#include "app/cli/measure.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <vector>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/large_pages.h"
#include "base/threads.h"
#include "kernels/gemm.h"
#include "kernels/micro.h"
#include "kernels/onednn.h"
#include "quant/weight.h"
#include "recipes/workbench.h"

namespace moxie::cli {
namespace {

constexpr int64_t kRows = 512;
constexpr int64_t kDim = 1536;
constexpr double kProductFlops = 2.0 * kRows * kDim * kDim;

// The register tile of the f32 kernel, over and over on the same 16 KiB.
double fma_gflops() {
  const kernels::Micro& kernel = kernels::micro();
  constexpr int64_t kDepth = 128;
  constexpr int kRepeats = 4000;
  const std::vector<float> data(static_cast<size_t>(kDepth * (kernel.rows + kernel.cols)), 0.5f);
  const double seconds = shortest_time([&] {
    parallel_for(thread_count(), 1, [&](int64_t begin, int64_t end) {
      std::vector<float> c(static_cast<size_t>(kernel.rows * kernel.cols));
      for (int64_t i = begin * kRepeats; i < end * kRepeats; ++i) {
        kernel.tile(kernel.rows, kernel.cols, kDepth, data.data(), kDepth, 1,
                    data.data() + kDepth * kernel.rows, kernel.cols, c.data(), kernel.cols, 1,
                    false);
      }
    });
  });
  const double tiles = static_cast<double>(thread_count()) * kRepeats;
  return 2.0 * kernel.rows * kernel.cols * kDepth * tiles / seconds / 1e9;
}

struct Operands {
  std::vector<float> a = std::vector<float>(static_cast<size_t>(kRows * kDim), 0.5f);
  std::vector<float> b = std::vector<float>(static_cast<size_t>(kDim * kDim), 0.25f);
  std::vector<float> c = std::vector<float>(static_cast<size_t>(kRows * kDim));
};

void copy_row(const void* context, int64_t row, int64_t begin, int64_t end, float* out) {
  const float* values = static_cast<const float*>(context) + row * kDim;
  std::copy(values + begin, values + end, out);
}

double packed_gflops(Operands& with, kernels::PackedMatrix::Type type) {
  const kernels::RowDecoder rows{with.b.data(), copy_row, 1};
  const kernels::PackedMatrix packed(kDim, kDim, rows, true, type);
  const auto multiply = [&] { packed.multiply(with.a.data(), kRows, with.c.data(), false); };
  return kProductFlops / shortest_time(multiply) / 1e9;
}

double own_gflops(Operands& with, kernels::Arithmetic arithmetic) {
  const auto multiply = [&] {
    kernels::gemm_nt(kRows, kDim, kDim, with.a.data(), with.b.data(), with.c.data(), false, 1,
                     arithmetic);
  };
  return kProductFlops / shortest_time(multiply) / 1e9;
}

double read_gigabytes() {
  // Larger than any cache it could hide in.
  constexpr int64_t kCount = int64_t{512} << 17;  // 512 MiB
  const auto memory = large_memory(kCount * sizeof(uint64_t));
  auto* data = reinterpret_cast<uint64_t*>(memory.get());
  std::fill_n(data, kCount, uint64_t{1});
  std::atomic<uint64_t> sink{0};
  const double seconds = shortest_time([&] {
    parallel_for(kCount, 1 << 16, [&](int64_t begin, int64_t end) {
      uint64_t sums[8] = {};
      for (int64_t i = begin; i + 8 <= end; i += 8) {
        for (int64_t k = 0; k < 8; ++k) sums[k] += data[i + k];
      }
      uint64_t sum = 0;
      for (const uint64_t part : sums) sum += part;
      sink += sum;
    });
  });
  return static_cast<double>(kCount * sizeof(uint64_t)) / seconds / 1e9;
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
  using Type = kernels::PackedMatrix::Type;
  Operands operands;
  MachineLimits limits;
  limits.fma_gflops = fma_gflops();
  limits.f32_gflops = std::max(own_gflops(operands, kernels::Arithmetic::kF32),
                               packed_gflops(operands, Type::kF32));
  if (has_bf16_tiles()) {
    limits.bf16_gflops = std::max(own_gflops(operands, kernels::Arithmetic::kBF16),
                                  packed_gflops(operands, Type::kBF16));
  }
  if (quant::arithmetic_of(recipes::compute_for("auto")) == kernels::Arithmetic::kInt16)
    limits.int16_gflops = own_gflops(operands, kernels::Arithmetic::kInt16);
  limits.gigabytes = read_gigabytes();
  return limits;
}

}  // namespace moxie::cli
