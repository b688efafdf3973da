#include "app/cli/bench_jobs.h"

#include <algorithm>
#include <functional>

#include "adapt/attachment.h"
#include "base/clock.h"
#include "base/rng.h"
#include "base/threads.h"
#include "data/dataset.h"
#include "infer/sampler.h"
#include "infer/settling.h"
#include "io/hub.h"
#include "models/load.h"
#include "ops/tape.h"
#include "optim/clip.h"
#include "optim/optimizer.h"
#include "recipes/workbench.h"
#include "train/batch_plan.h"
#include "train/causal_lm.h"

namespace moxie::cli {
namespace {

constexpr int64_t kPromptChunk = 512;  // rows that run at once, as in infer/generate.cpp

// What a job did in one round, and what bounds it.
struct Job {
  double tokens = 0;  // that one round runs
  std::vector<double> seconds;
  double flops = 0;  // a token costs
  double bytes = 0;  // of weights that a token makes the machine read; 0 where flops are the bound
  std::string formula;
  Json facts = Json::object();
};

std::vector<double> time_rounds(int64_t rounds, const std::function<void()>& round) {
  round();  // touches the file's pages, packs weights
  std::vector<double> seconds;
  for (int64_t i = 0; i < rounds; ++i) {
    const Stopwatch watch;
    round();
    seconds.push_back(watch.seconds());
  }
  return seconds;
}

std::vector<int32_t> random_tokens(int64_t count, const nn::Decoder& decoder, uint64_t seed) {
  Rng rng(seed);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i) {
    ids.push_back(static_cast<int32_t>(rng.below(static_cast<uint64_t>(decoder.config().vocab))));
  }
  return ids;
}

struct Weights {
  double multiplied = 0;  // elements that every token is multiplied with: blocks and head
  double head = 0;        // of those, the output projection
  double bytes = 0;       // of all, as they are stored
};

Weights count_weights(nn::Decoder& decoder) {
  Weights counted;
  const bool is_tied = decoder.config().ties_embeddings;
  for (const nn::Matrix* matrix : decoder.matrices()) {
    if (matrix->name() == "embed" && !is_tied) continue;  // only looked up
    const auto elements = static_cast<double>(matrix->rows() * matrix->cols());
    counted.multiplied += elements;
    if (matrix->name() == "head" || matrix->name() == "embed") counted.head = elements;
    if (matrix->is_frozen()) counted.bytes += static_cast<double>(matrix->frozen().bytes().size());
  }
  return counted;
}

// Runs tokens that follow what `state` holds, in chunks; the hidden state of the last one.
Tensor read_prompt(const nn::Decoder& decoder, const std::vector<int32_t>& tokens,
                   nn::SequenceState& state) {
  Tensor hidden;
  for (size_t begin = 0; begin < tokens.size(); begin += kPromptChunk) {
    const size_t end = std::min(tokens.size(), begin + kPromptChunk);
    nn::Batch batch;
    batch.add(
        {tokens.begin() + static_cast<int64_t>(begin), tokens.begin() + static_cast<int64_t>(end)},
        static_cast<int32_t>(state.length()));
    nn::ForwardOptions how;
    how.states = {&state};
    hidden = decoder.forward(batch, how);
  }
  return hidden.slice_rows(hidden.rows() - 1, hidden.rows());
}

Job prefill(nn::Decoder& decoder, const BenchOptions& options) {
  Job job;
  const ops::NoTape quiet;
  job.tokens = static_cast<double>(options.tokens * options.batch);
  job.seconds = time_rounds(options.rounds, [&] {
    for (int64_t i = 0; i < options.batch; ++i) {
      nn::SequenceState state = decoder.new_state();
      const auto tokens = random_tokens(options.tokens, decoder, static_cast<uint64_t>(i));
      decoder.logits(read_prompt(decoder, tokens, state));
    }
  });
  const Weights weights = count_weights(decoder);  // only the last token's logits are asked for
  job.flops = 2 * (weights.multiplied - weights.head);
  job.formula = "2 x weights of the blocks x tokens/s over the speed of a large matrix product";
  return job;
}

// The next token of every sequence, greedily: what generation does, without the tokenizer.
std::vector<int32_t> step(const nn::Decoder& decoder, const std::vector<int32_t>& tokens,
                          std::vector<nn::SequenceState>& states) {
  nn::Batch batch;
  nn::ForwardOptions how;
  for (size_t i = 0; i < states.size(); ++i) {
    batch.add({tokens[i]}, static_cast<int32_t>(states[i].length()));
    how.states.push_back(&states[i]);
  }
  const Tensor logits = decoder.logits(decoder.forward(batch, how));
  std::vector<int32_t> next(tokens.size());
  parallel_for(logits.rows(), 1, [&](int64_t begin, int64_t end) {
    infer::Sampler greedy{infer::SamplerOptions{}};
    for (int64_t i = begin; i < end; ++i) {
      float* row = logits.data<float>() + i * logits.cols();
      next[static_cast<size_t>(i)] = greedy.pick({row, static_cast<size_t>(logits.cols())}, {});
    }
  });
  return next;
}

Job decode(const models::Model& model, const BenchOptions& options) {
  Job job;
  nn::Decoder& decoder = *model.decoder;
  infer::Settling settling(model);
  const ops::NoTape quiet;
  std::vector<nn::SequenceState> states;
  for (int64_t i = 0; i < options.batch; ++i) {
    states.push_back(decoder.new_state());
    const auto tokens = random_tokens(options.context, decoder, static_cast<uint64_t>(i));
    read_prompt(decoder, tokens, states.back());
  }
  job.tokens = static_cast<double>(options.tokens * options.batch);
  job.seconds = time_rounds(options.rounds, [&] {
    for (nn::SequenceState& state : states) state.truncate(options.context);
    std::vector<int32_t> tokens = random_tokens(options.batch, decoder, 1);
    for (int64_t i = 0; i < options.tokens; ++i) {
      settling.step();
      tokens = step(decoder, tokens, states);
    }
  });
  const Weights weights = count_weights(decoder);
  job.flops = 2 * weights.multiplied;
  job.bytes = weights.bytes / static_cast<double>(options.batch);
  job.formula = "bytes of the weights x steps/s over the speed of reading memory";
  job.facts = {{"context", options.context}, {"cache_type", name_of(states[0].dtype())}};
  return job;
}

std::unique_ptr<adapt::Attachment> attach_lora(models::Model& model, int64_t rank) {
  auto method = require_row(adapt::methods(), "method", "lora")->create();
  for (const Option& option : method->options()) {
    if (option.name == "rank") set_option(option, rank, "bench");
  }
  return adapt::Attachment::create(model, "lora", std::move(method), {}, 0);
}

// The sequences of one round: of the file, as long as they are, or random ones that are learnt in
// full.
std::vector<data::Sample> training_samples(const models::Model& model,
                                           const BenchOptions& options) {
  const int64_t count = options.batch * options.steps;
  std::vector<data::Sample> samples;
  if (options.data.empty()) {
    for (int64_t i = 0; i < count; ++i) {
      auto tokens = random_tokens(options.tokens, *model.decoder, static_cast<uint64_t>(i));
      const std::vector<uint8_t> all(tokens.size(), 1);
      samples.push_back({std::move(tokens), all, 0});
    }
    return samples;
  }
  const data::Encoder encoder = recipes::make_encoder(model, {});
  const data::Dataset data = data::Dataset::load({{options.data, 1.0}}, encoder);
  if (data.size() < count) {
    fail(ErrorCode::kInvalidArgument, "bench",
         "{} sequences in {} steps need {} examples, but '{}' has {}; lower --batch or --steps",
         options.batch, options.steps, count, options.data, data.size());
  }
  for (int64_t i = 0; i < count; ++i) samples.push_back(data[i]);
  return samples;
}

// One optimizer step as the training loop makes it: micro-batches, clipping, AdamW.
void train_step(train::CausalLm& objective, optim::Optimizer& optimizer,
                const std::vector<const data::Sample*>& samples, const BenchOptions& options) {
  int64_t learnt = 0;
  for (const data::Sample* sample : samples) learnt += sample->learnt_count();
  const double weight = 1.0 / static_cast<double>(std::max<int64_t>(1, learnt));
  nn::zero_gradients(optimizer.params());
  for (const auto& micro : train::split_micro_batches(samples, options.batch, options.micro_tokens))
    objective.forward_backward(micro, weight, 0, true);
  nn::settle_gradients(optimizer.params());
  optimizer.step(1e-5, optim::clip_factor(optim::gradient_norm(optimizer.params()), 1.0));
}

Job train(models::Model& model, const BenchOptions& options) {
  Job job;
  const bool is_full = options.method == "full";
  std::unique_ptr<adapt::Attachment> adapter;
  job.flops = (is_full ? 6 : 4) * count_weights(*model.decoder).multiplied;
  if (is_full) {
    model.decoder->make_trainable();
  } else {
    adapter = attach_lora(model, options.rank);
  }
  const nn::ParamList params = is_full ? model.decoder->params() : adapter->params();
  const auto optimizer = require_row(optim::optimizers(), "optimizer", "adamw")->create();
  optimizer->attach(params);
  for (nn::Param* param : params)
    param->gradient = Tensor::zeros(param->value.shape(), DType::kF32);
  const std::vector<data::Sample> samples = training_samples(model, options);
  Json lengths = Json::array();
  for (const data::Sample& sample : samples) {
    job.tokens += static_cast<double>(sample.tokens.size());
    lengths.push_back(sample.tokens.size());
  }
  train::CausalLm objective(*model.decoder, params, options.recompute);
  job.seconds = time_rounds(options.rounds, [&] {
    for (size_t begin = 0; begin < samples.size(); begin += static_cast<size_t>(options.batch)) {
      std::vector<const data::Sample*> batch;
      for (size_t i = 0; i < static_cast<size_t>(options.batch); ++i)
        batch.push_back(&samples[begin + i]);
      train_step(objective, *optimizer, batch, options);
    }
  });
  job.formula = is_full ? "6 x multiplied weights x tokens/s over the speed of a large product"
                        : "4 x multiplied weights x tokens/s over the speed of a large product";
  job.facts = {{"trainable_parameters", nn::count_elements(params)}, {"lengths", lengths}};
  return job;
}

// Of 8 bits, many rows at a time.
bool multiplies_integers(nn::Decoder& decoder) {
  constexpr int64_t kMany = 1024;
  const auto matrices = decoder.matrices();
  return std::any_of(matrices.begin(), matrices.end(), [](const nn::Matrix* matrix) {
    if (!matrix->is_frozen()) return false;
    const quant::Weight& weight = matrix->frozen();
    return weight.runs_int8(kMany) || weight.tiles(kMany) == kernels::Tiles::kInt8 ||
           weight.gradients_are_codes(kMany);
  });
}

Job run(models::Model& model, const BenchOptions& options) {
  if (options.what == "train") return train(model, options);
  std::unique_ptr<adapt::Attachment> adapter;
  if (options.attach) adapter = attach_lora(model, options.rank);
  return options.what == "prefill" ? prefill(*model.decoder, options) : decode(model, options);
}

Json share_of(const Job& job, double speed, quant::Compute compute, const MachineLimits& limits) {
  if (job.bytes > 0) {
    return {{"limit_gigabytes_per_second", limits.gigabytes},
            {"share_of_limit", job.bytes * speed / 1e9 / limits.gigabytes}};
  }
  double limit = limits.f32_gflops;
  if (compute == quant::Compute::kBF16) limit = std::max(limit, limits.bf16_gflops);
  if (quant::arithmetic_of(compute) == kernels::Arithmetic::kInt16)
    limit = std::max(limit, limits.int16_gflops);
  return {{"limit_gflops", limit}, {"share_of_limit", job.flops * speed / 1e9 / limit}};
}

}  // namespace

Json run_job(const BenchOptions& options) {
  models::Model model = models::load(io::resolve_model(options.model));
  const quant::Compute compute = recipes::compute_for(options.dtype);
  recipes::set_compute(
      *model.decoder, options.dtype,
      options.what == "train" ? recipes::Purpose::kTraining : recipes::Purpose::kInference);
  recipes::set_cache_type(*model.decoder, options.cache_type);
  Job job = run(model, options);
  if (job.bytes == 0 && multiplies_integers(*model.decoder))
    job.formula += " of the other matrices, which products of 8-bit integers may pass";
  const double memory = static_cast<double>(peak_rss_bytes()) / (1 << 20);
  std::sort(job.seconds.begin(), job.seconds.end());
  const size_t middle = job.seconds.size() / 2;
  const double median = job.seconds.size() % 2 == 1
                            ? job.seconds[middle]
                            : (job.seconds[middle - 1] + job.seconds[middle]) / 2;
  const double speed = job.tokens / median;
  Json found = {{"batch", options.batch},
                {"tokens", job.tokens},
                {"rounds", options.rounds},
                {"tokens_per_second", speed},
                {"slowest", job.tokens / job.seconds.back()},
                {"fastest", job.tokens / job.seconds.front()},
                {"peak_rss_mib", memory}};
  found.update(job.facts);
  if (job.bytes > 0) {
    found["gigabytes_per_second"] = job.bytes * speed / 1e9;
  } else {
    found["gflops"] = job.flops * speed / 1e9;
  }
  if (!options.skip_limits) found.update(share_of(job, speed, compute, measure_limits()));
  found["formula"] = job.formula;
  return found;
}

}  // namespace moxie::cli
