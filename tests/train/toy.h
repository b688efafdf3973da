#pragma once
// A small problem with every property the loop must handle: ragged samples, tokens that are not
// learnt, dropout that depends on the seed, an exact gradient, and evaluations that a test can
// script.
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/rng.h"
#include "train/trainer.h"

namespace moxie::train {

constexpr int64_t kVocabulary = 12, kWidth = 4;

// The target of a token given the one before it is sin(token); the prediction is
// table[previous] . weight + bias, with a quarter of the products dropped in training.
class ToyObjective : public Objective {
 public:
  ToyObjective() {
    Rng rng(17);
    table_ = make("table", {kVocabulary, kWidth}, rng);
    weight_ = make("weight", {kWidth}, rng);
    bias_ = make("bias", {1}, rng);
  }
  nn::ParamList params() override { return {&table_, &weight_, &bias_}; }

  LossSum forward_backward(const std::vector<const data::Sample*>& micro_batch, double weight,
                           uint64_t dropout_seed, bool with_gradient) override {
    if (!with_gradient) return evaluate(micro_batch, weight);
    ++training_calls;
    nn::settle_gradients(params());
    LossSum sum = run(micro_batch, weight, dropout_seed, true);
    if (training_calls == loss_is_nan_at) sum.loss = std::nan("");
    if (training_calls == gradient_is_infinite_at) {
      bias_.gradient.data<float>()[0] = std::numeric_limits<float>::infinity();
    }
    return sum;
  }

  std::vector<float> values() {
    std::vector<float> all;
    for (const nn::Param* param : params()) {
      const auto span = param->value.span<float>();
      all.insert(all.end(), span.begin(), span.end());
    }
    return all;
  }

  double keep = 0.75;  // 1 for no dropout
  int64_t training_calls = 0;
  int64_t loss_is_nan_at = -1, gradient_is_infinite_at = -1;
  std::vector<double> eval_script;  // mean losses that evaluations return, when not empty
  size_t evaluations = 0;

 private:
  static nn::Param make(const std::string& name, Shape shape, Rng& rng) {
    nn::Param param;
    param.name = name;
    param.value = Tensor::zeros(shape, DType::kF32);
    for (float& x : param.value.span<float>()) x = static_cast<float>(0.3 * rng.normal());
    return param;
  }

  LossSum evaluate(const std::vector<const data::Sample*>& micro_batch, double weight) {
    LossSum sum = run(micro_batch, weight, 0, false);
    if (!eval_script.empty()) {
      sum.loss = eval_script.at(evaluations) * static_cast<double>(sum.tokens);
    }
    ++evaluations;
    return sum;
  }

  LossSum run(const std::vector<const data::Sample*>& micro_batch, double weight, uint64_t seed,
              bool trains) {
    const Rng dropout(seed);
    uint64_t draw = 0;
    LossSum sum;
    float* w = weight_.value.data<float>();
    for (const data::Sample* sample : micro_batch) {
      for (size_t i = 1; i < sample->tokens.size(); ++i) {
        if (sample->is_learnt[i] == 0) continue;
        const int64_t row = sample->tokens[i - 1] * kWidth;
        const float* t = table_.value.data<float>() + row;
        float mask[kWidth];
        double prediction = bias_.value.data<float>()[0];
        for (int64_t k = 0; k < kWidth; ++k) {
          const double u = static_cast<double>(dropout.bits_at(draw++) >> 11) * 0x1.0p-53;
          mask[k] = !trains || keep == 1 ? 1.0F : u < keep ? static_cast<float>(1 / keep) : 0.0F;
          prediction += static_cast<double>(t[k]) * w[k] * mask[k];
        }
        const double error = prediction - std::sin(sample->tokens[i]);
        sum.loss += 0.5 * error * error;
        ++sum.tokens;
        if (!trains) continue;
        const auto slope = static_cast<float>(weight * error);
        bias_.gradient.data<float>()[0] += slope;
        for (int64_t k = 0; k < kWidth; ++k) {
          table_.gradient.data<float>()[row + k] += slope * w[k] * mask[k];
          weight_.gradient.data<float>()[k] += slope * t[k] * mask[k];
        }
      }
    }
    return sum;
  }

  nn::Param table_, weight_, bias_;
};

class ToySource : public SampleSource {
 public:
  explicit ToySource(int64_t count, uint64_t seed = 1) : seed_(seed) {
    Rng rng(seed);
    for (int64_t i = 0; i < count; ++i) {
      data::Sample sample;
      const auto length = 3 + rng.below(9);
      for (uint64_t k = 0; k < length; ++k) {
        sample.tokens.push_back(static_cast<int32_t>(rng.below(kVocabulary)));
        sample.is_learnt.push_back(k >= length / 2 ? 1 : 0);
      }
      samples.push_back(std::move(sample));
    }
  }
  int64_t size() const override { return static_cast<int64_t>(samples.size()); }
  const data::Sample& sample(int64_t index) const override {
    return samples[static_cast<size_t>(index)];
  }
  std::vector<int64_t> order(int64_t epoch) const override {
    std::vector<int64_t> order(samples.size());
    std::iota(order.begin(), order.end(), 0);
    Rng rng(seed_, static_cast<uint64_t>(epoch));
    for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[rng.below(i)]);
    return order;
  }
  std::string fingerprint() const override {
    std::string all;
    for (const auto& sample : samples) {
      for (const int32_t token : sample.tokens) all += static_cast<char>('a' + token);
      all += ' ';
    }
    return sha256_hex(all);
  }
  std::vector<data::Sample> samples;

 private:
  uint64_t seed_;
};

class TemporaryFolder {
 public:
  TemporaryFolder() {
    // In memory where there is such a folder: these tests sync thousands of files.
    const std::filesystem::path shared = "/dev/shm";
    const bool has_shared = ::access(shared.c_str(), W_OK) == 0;
    std::string pattern =
        (has_shared ? shared : std::filesystem::temp_directory_path()) / "moxie-train-XXXXXX";
    MOXIE_ASSERT(::mkdtemp(pattern.data()) != nullptr);
    path = pattern;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::filesystem::path path;
};

// 20 samples, batches of 3 by 2, so 4 steps an epoch, the last of them short; 3 epochs.
inline TrainOptions toy_options() {
  TrainOptions options;
  options.lr = 0.02;
  options.batch_size = 3;
  options.accumulate = 2;
  options.micro_tokens = 16;
  options.epochs = 3;
  return options;
}

// One run in a folder. Build it, adjust its members, call go().
struct ToyRun {
  ToyObjective objective;
  ToySource data{20, 1};
  ToySource held_out{6, 2};
  TrainOptions options = toy_options();
  std::vector<Callback*> callbacks;
  std::function<bool()> stop;
  Facts facts = {{"model", "toy"}};
  bool has_held_out = true;
  std::unique_ptr<Trainer> trainer;

  Trainer& build(const std::filesystem::path& folder) {
    TrainSetup setup;
    setup.objective = &objective;
    setup.data = &data;
    setup.held_out = has_held_out ? &held_out : nullptr;
    setup.optimizer = require_row(optim::optimizers(), "optimizer", options.optimizer)->create();
    setup.folder = folder;
    setup.facts = facts;
    setup.callbacks = callbacks;
    setup.stop_requested = stop;
    trainer = std::make_unique<Trainer>(options, std::move(setup));
    return *trainer;
  }
  TrainResult go(const std::filesystem::path& folder, bool resume = false) {
    return build(folder).run(resume);
  }
};

inline std::vector<Json> read_lines(const std::filesystem::path& path) {
  std::vector<Json> lines;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) lines.push_back(Json::parse(line));
  return lines;
}

// The same without what may differ between two runs.
inline std::vector<Json> read_timeless(const std::filesystem::path& path) {
  auto lines = read_lines(path);
  for (Json& line : lines) {
    for (const char* key : {"seconds", "tokens_per_second", "peak_rss_mib"}) line.erase(key);
  }
  return lines;
}

}  // namespace moxie::train
