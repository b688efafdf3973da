// How fast a model runs here, and what share of the machine's own limit that is: a matrix product
// at its best bounds prefill and training, memory bandwidth bounds decoding.
#include <fmt/format.h>

#include "app/cli/bench_jobs.h"
#include "app/cli/verb.h"
#include "base/cpu.h"
#include "base/text_util.h"
#include "base/threads.h"

namespace moxie::cli {
namespace {

void print(const Json& found, const Context& context) {
  if (context.globals.json) {
    fmt::print("{}\n", found.dump(2));
    return;
  }
  TextTable table{{"", ""}, {}, {false, true}};
  for (const auto& [key, value] : found.items()) {
    if (value.is_array()) continue;
    table.rows.push_back({context.out.green(key), value.is_string() ? value.get<std::string>()
                                                  : value.is_number_float()
                                                      ? fmt::format("{:.4g}", value.get<double>())
                                                      : value.dump()});
  }
  fmt::print("{}", table.render(context.out));
}

Json limits_json() {
  const MachineLimits limits = measure_limits();
  Json found = {{"fma_gflops", limits.fma_gflops}, {"f32_product_gflops", limits.f32_gflops}};
  if (limits.bf16_gflops > 0) found["bf16_product_gflops"] = limits.bf16_gflops;
  if (limits.int16_gflops > 0) found["int16_product_gflops"] = limits.int16_gflops;
  found["read_gigabytes_per_second"] = limits.gigabytes;
  return found;
}

void run(BenchOptions& options, Context& context) {
  if (options.what != "limits" && options.model.empty()) {
    fail(ErrorCode::kInvalidArgument, "bench", "which model? moxie bench {} MODEL", options.what);
  }
  Json found = {{"what", options.what},
                {"cpu", cpu().model},
                {"isa", to_string(active_isa())},
                {"threads", thread_count()}};
  found.update(options.what == "limits" ? limits_json() : run_job(options));
  print(found, context);
}

}  // namespace

extern const Verb bench_entry;
const Verb bench_entry = {.group = Group::kHouse,
                          .summary = "measure speed, and what share of the machine's limit it is",
                          .positionals = "what [model]",
                          .examples =
                              "moxie bench limits\n"
                              "moxie bench train model.gguf --batch 8 --tokens 512\n"
                              "moxie bench train model.gguf --batch 8 --data train.jsonl\n"
                              "moxie bench prefill model.gguf --tokens 512 --attach\n"
                              "moxie bench decode model.gguf --batch 16 --threads 2 --json",
                          .reads_recipe = false,
                          .create = invocation<BenchOptions, run>};

}  // namespace moxie::cli
