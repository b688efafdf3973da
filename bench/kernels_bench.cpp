// Matrix products against oneDNN's with packed f32 weights, in one interleaved run: every line
// gives both speeds and their ratio (above 1: ours is faster). Usage: kernels_bench [threads]
// [rounds [plain [name]]]; "plain" prints a name and a time in seconds a line, for bench/gate; with
// a name it runs that kernel alone.
#include <fmt/core.h>
#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/cpu.h"
#include "base/rng.h"
#include "base/threads.h"
#include "kernels/attention.h"
#include "kernels/gemm.h"
#include "kernels/micro.h"
#include "kernels/onednn.h"
#include "quant/weight.h"

namespace moxie {
namespace {

int rounds = 9;
bool is_plain = false;
std::string_view only;  // the name of a plain line, or empty

// With one thread its own CPU time, which a busy machine distorts less; else the wall clock's.
double now() {
  timespec time{};
  clock_gettime(thread_count() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double seconds(const std::function<void()>& work) {
  const double start = now();
  work();
  return now() - start;
}

// The best of several rounds of each, taken in turn so that both see the same weather.
std::vector<double> interleaved(const std::vector<std::function<void()>>& works) {
  std::vector<double> best(works.size(), 1e9);
  for (int round = 0; round < rounds; ++round) {
    for (size_t i = 0; i < works.size(); ++i) best[i] = std::min(best[i], seconds(works[i]));
  }
  return best;
}

bool is_wanted(const std::string& name) {
  return only.empty() || name == only;
}

void plain_line(const std::string& name, const std::function<void()>& work) {
  if (is_wanted(name)) fmt::print("{} {:.9f}\n", name, interleaved({work})[0]);
}

std::vector<float> uniform(int64_t count) {
  Rng rng(1);
  std::vector<float> out(static_cast<size_t>(count));
  for (float& x : out) x = static_cast<float>(rng.uniform() - 0.5);
  return out;
}

// GFLOP/s of the register tile on operands in L1, on all threads: the limit.
double tile_peak(const std::vector<float>& data) {
  const auto& kernel = kernels::micro();
  constexpr int64_t kDepth = 256;
  constexpr int kRepeats = 2000;
  const auto work = [&] {
    parallel_for(thread_count(), 1, [&](int64_t begin, int64_t end) {
      std::vector<float> c(static_cast<size_t>(kernel.rows * kernel.cols));
      for (int64_t i = begin; i < end; ++i) {
        for (int r = 0; r < kRepeats; ++r) {
          kernel.tile(kernel.rows, kernel.cols, kDepth, data.data(), kDepth, 1, data.data() + 8192,
                      kernel.cols, c.data(), kernel.cols, 1, false);
        }
      }
    });
  };
  const double flops = 2.0 * kernel.rows * kernel.cols * kDepth * kRepeats * thread_count();
  return flops / interleaved({work})[0] / 1e9;
}

struct Rows {
  const float* values;
  int64_t cols;
};

void copy_row(const void* context, int64_t row, int64_t begin, int64_t end, float* out) {
  const auto& rows = *static_cast<const Rows*>(context);
  std::copy(rows.values + row * rows.cols + begin, rows.values + row * rows.cols + end, out);
}

void products(double peak, int64_t m, int64_t out, int64_t in, const std::vector<float>& data) {
  std::vector<float> y(static_cast<size_t>(m * std::max(out, in)));
  const Rows rows{data.data(), in};
  using kernels::PackedMatrix;
  std::optional<PackedMatrix> peer;
  if (!is_plain)
    peer.emplace(in, out, kernels::RowDecoder{&rows, copy_row, 1}, true, PackedMatrix::Type::kF32);
  const double flops = 2.0 * static_cast<double>(m * out * in) / 1e9;
  for (const std::string_view name : {"f32", "bf16", "q8_0", "q4_1", "q4_k"}) {
    const auto& format = require_row(quant::formats(), "format", name);
    if (in % format->block != 0) continue;
    const std::string what = fmt::format("ward-{}-{}x{}x{}", name, m, in, out);
    if (!is_wanted("for" + what) && !is_wanted("back" + what)) continue;
    std::vector<std::byte> bytes(static_cast<size_t>(out * row_bytes(*format.entry, in)));
    format->encode(data.data(), bytes.data(), out * in);
    const quant::Weight w(format, out, in, bytes.data(), nullptr);
    const auto forward = [&] { w.matmul(data.data(), m, y.data()); };
    const auto backward = [&] { w.matmul_transposed(data.data(), m, y.data()); };
    if (is_plain) {
      plain_line("for" + what, forward);
      plain_line("back" + what, backward);
      continue;
    }
    const auto t =
        interleaved({forward, backward, [&] { peer->multiply(data.data(), m, y.data(), false); }});
    fmt::print(
        "{:5} x {:4} -> {:4} {:5}  forward {:6.1f} ({:3.0f}% of peak)  backward {:6.1f}"
        "  oneDNN f32 {:6.1f} GFLOP/s  ratio {:.2f}\n",
        m, in, out, name, flops / t[0], 100 * flops / t[0] / peak, flops / t[1], flops / t[2],
        t[2] / t[0]);
  }
}

void attention(int64_t tokens, const std::vector<float>& data) {
  kernels::AttentionShape<float> shape{.heads = 9, .kv_heads = 3, .head_dim = 64, .scale = 0.125f};
  const std::vector<kernels::AttentionSequence<float>> list{
      {0, tokens, data.data(), data.data(), tokens}};
  std::vector<float> out(static_cast<size_t>(tokens * 576)), lse(static_cast<size_t>(tokens * 9));
  std::vector<float> dq(out.size()), dk(out.size()), dv(out.size());
  const auto forward = [&] {
    kernels::attention_forward<float>(shape, list, data.data(), out.data(), lse.data());
  };
  const auto backward = [&] {
    kernels::attention_backward<float>(shape, list, data.data(), out.data(), lse.data(),
                                       data.data(), {dq.data(), dk.data(), dv.data(), nullptr});
  };
  if (is_plain) {
    plain_line(fmt::format("attention-forward-{}", tokens), forward);
    plain_line(fmt::format("attention-backward-{}", tokens), backward);
    return;
  }
  const auto t = interleaved({forward, backward});
  const double flops = 2.0 * static_cast<double>(tokens * tokens) * 576 / 1e9;  // causal: half of 4
  fmt::print(
      "attention {:5} tokens, 9 heads of 64 on 3: forward {:6.1f}, backward {:6.1f} GFLOP/s\n",
      tokens, flops / t[0], 2.5 * flops / t[1]);
}

}  // namespace
}  // namespace moxie

int main(int argc, char** argv) {
  using namespace moxie;
  if (argc > 1) set_thread_count(std::atoi(argv[1]));
  if (argc > 2) rounds = std::atoi(argv[2]);
  is_plain = argc > 3;
  if (argc > 4) only = argv[4];
  const auto data = uniform(1 << 22);
  const double peak = is_plain ? 1 : tile_peak(data);
  if (!is_plain) {
    fmt::print("{}, {} threads, {}; register tile in L1: {:.1f} GFLOP/s\n", cpu().model,
               thread_count(), to_string(active_isa()), peak);
  }
  for (const int64_t m : {256, 512}) {
    products(peak, m, 576, 576, data);
    products(peak, m, 1536, 576, data);
    products(peak, m, 576, 1536, data);
    products(peak, m, 1536, 1536, data);
  }
  for (const int64_t m : {1, 4, 16, 64}) products(peak, m, 1536, 1536, data);
  for (const int64_t tokens : {64, 256, 1024}) attention(tokens, data);
  return 0;
}
