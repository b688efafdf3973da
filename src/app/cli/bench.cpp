// How fast a model runs here, and what share of the machine's own limit that is: a matrix product
// at its best bounds prefill and training, memory bandwidth bounds decoding.
#include <fmt/format.h>

#include "adapt/attachment.h"
#include "app/cli/measure.h"
#include "app/cli/verb.h"
#include "base/clock.h"
#include "base/rng.h"
#include "base/text_util.h"
#include "base/threads.h"
#include "io/hub.h"
#include "models/load.h"
#include "recipes/workbench.h"
#include "train/causal_lm.h"

namespace moxie::cli {
namespace {

struct BenchOptions {
  std::string what, model, dtype = "auto";
  int64_t tokens = 256, context = 64;

  void visit(auto& v) {
    v("what", what, "what to measure", one_of({"train", "prefill", "decode", "limits"}));
    v("model", model, "a GGUF file, a Hugging Face folder, or a pulled name; limits needs none");
    v("tokens", tokens, "tokens of the prompt, or to generate", range(1, 1 << 20));
    v("context", context, "tokens already there when decoding starts", range(1, 1 << 20));
    v("dtype", dtype, "arithmetic of the matrix products", one_of({"auto", "f32", "bf16"}));
  }
};

nn::Batch random_batch(int64_t tokens, int64_t vocab, int32_t first_position = 0) {
  Rng rng(1);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < tokens; ++i) {
    ids.push_back(static_cast<int32_t>(rng.below(static_cast<uint64_t>(vocab))));
  }
  nn::Batch batch;
  batch.add(ids, first_position);
  return batch;
}

struct Weights {
  double multiplied = 0;  // elements that every token is multiplied with: blocks and head
  double bytes = 0;       // of those, as they are stored
};

Weights count_weights(nn::Decoder& decoder) {
  Weights counted;
  const bool is_tied = decoder.config().ties_embeddings;
  for (const nn::Matrix* matrix : decoder.matrices()) {
    if (matrix->name() == "embed" && !is_tied) continue;  // only looked up
    counted.multiplied += static_cast<double>(matrix->rows() * matrix->cols());
    counted.bytes += static_cast<double>(matrix->frozen().bytes().size());
  }
  return counted;
}

void run_tokens(nn::Decoder& decoder, const nn::Batch& batch, nn::SequenceState& state) {
  nn::ForwardOptions how;
  how.states = {&state};
  const Tensor hidden = decoder.forward(batch, how);
  decoder.logits(hidden.slice_rows(hidden.rows() - 1, hidden.rows()));
}

Json prefill(nn::Decoder& decoder, const BenchOptions& options, const MachineLimits& limits) {
  const nn::Batch batch = random_batch(options.tokens, decoder.config().vocab);
  const double seconds = shortest_time([&] {
    nn::SequenceState state = decoder.new_state();
    run_tokens(decoder, batch, state);
  });
  const double speed = static_cast<double>(options.tokens) / seconds;
  const double gflops = 2 * count_weights(decoder).multiplied * speed / 1e9;
  return {{"tokens", options.tokens},      {"seconds", seconds},
          {"tokens_per_second", speed},    {"gflops", gflops},
          {"limit_gflops", limits.gflops}, {"share_of_limit", gflops / limits.gflops}};
}

Json decode(nn::Decoder& decoder, const BenchOptions& options, const MachineLimits& limits) {
  nn::SequenceState state = decoder.new_state();
  run_tokens(decoder, random_batch(options.context, decoder.config().vocab), state);
  const double seconds = shortest_time([&] {
    state.truncate(options.context);
    for (int64_t i = 0; i < options.tokens; ++i) {
      const auto position = static_cast<int32_t>(options.context + i);
      run_tokens(decoder, random_batch(1, decoder.config().vocab, position), state);
    }
  });
  const double speed = static_cast<double>(options.tokens) / seconds;
  const double gigabytes = count_weights(decoder).bytes * speed / 1e9;
  return {{"tokens", options.tokens},
          {"context", options.context},
          {"seconds", seconds},
          {"tokens_per_second", speed},
          {"gigabytes_per_second", gigabytes},
          {"limit_gigabytes_per_second", limits.gigabytes},
          {"share_of_limit", gigabytes / limits.gigabytes}};
}

// One forward and backward with fresh LoRA adapters on a sample that is learnt in full. The
// gradient goes through the frozen weights but not into them: two products, not three.
Json train_step(models::Model& model, const BenchOptions& options, const MachineLimits& limits) {
  const auto& lora = require_row(adapt::methods(), "method", "lora");
  const auto adapters = adapt::Attachment::create(model, "lora", lora->create(), {}, 0);
  const nn::Batch batch = random_batch(options.tokens, model.decoder->config().vocab);
  const data::Sample sample{batch.tokens, std::vector<uint8_t>(batch.tokens.size(), 1), 0};
  const nn::ParamList params = adapters->params();
  train::CausalLm objective(*model.decoder, params);
  const double seconds = shortest_time([&] { objective.forward_backward({&sample}, 1, 0, true); });
  const double speed = static_cast<double>(options.tokens) / seconds;
  const double gflops = 4 * count_weights(*model.decoder).multiplied * speed / 1e9;
  return {{"tokens", options.tokens},
          {"trainable_parameters", nn::count_elements(params)},
          {"seconds", seconds},
          {"tokens_per_second", speed},
          {"gflops", gflops},
          {"limit_gflops", limits.gflops},
          {"share_of_limit", gflops / limits.gflops}};
}

Json measure(models::Model& model, const BenchOptions& options, const MachineLimits& limits) {
  if (options.what == "train") return train_step(model, options, limits);
  if (options.what == "prefill") return prefill(*model.decoder, options, limits);
  return decode(*model.decoder, options, limits);
}

void print(const Json& found, const Context& context) {
  if (context.globals.json) {
    fmt::print("{}\n", found.dump(2));
    return;
  }
  TextTable table{{"", ""}, {}, {false, true}};
  for (const auto& [key, value] : found.items()) {
    table.rows.push_back({context.out.green(key), value.is_string() ? value.get<std::string>()
                                                  : value.is_number_float()
                                                      ? fmt::format("{:.4g}", value.get<double>())
                                                      : value.dump()});
  }
  fmt::print("{}", table.render(context.out));
}

void run(BenchOptions& options, Context& context) {
  Json found = {{"what", options.what}, {"threads", thread_count()}};
  if (options.what != "limits" && options.model.empty()) {
    fail(ErrorCode::kInvalidArgument, "bench", "which model? moxie bench {} MODEL", options.what);
  }
  const MachineLimits limits = measure_limits();
  if (options.what == "limits") {
    found.update({{"gflops", limits.gflops}, {"gigabytes_per_second", limits.gigabytes}});
  } else {
    models::Model model = models::load(io::resolve_model(options.model));
    model.decoder->set_compute(recipes::compute_for(options.dtype));
    found.update(measure(model, options, limits));
    found["peak_rss_mib"] = static_cast<double>(peak_rss_bytes()) / (1 << 20);
  }
  print(found, context);
}

}  // namespace

extern const Verb bench_entry;
const Verb bench_entry = {.group = Group::kHouse,
                          .summary = "measure speed, and what share of the machine's limit it is",
                          .positionals = "what [model]",
                          .examples =
                              "moxie bench limits\n"
                              "moxie bench train model.gguf\n"
                              "moxie bench prefill model.gguf --tokens 512\n"
                              "moxie bench decode model.gguf --threads 2 --json",
                          .reads_recipe = false,
                          .create = invocation<BenchOptions, run>};

}  // namespace moxie::cli
