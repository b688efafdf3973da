// Every PEFT method of the table on a tiny model: identity at the start, whole-model gradients
// against finite differences in double, save and load, merged against attached, threads; and what
// bad folders get.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "adapt/attachment.h"
#include "base/files.h"
#include "base/threads.h"
#include "io/safetensors.h"
#include "kernels/gemm.h"
#include "models/save_gguf.h"
#include "ops/tape.h"

namespace moxie::adapt {
namespace fs = std::filesystem;
namespace {

const fs::path kModels = fs::path(MOXIE_SOURCE_DIR) / "tests/golden/tiny_models";
const std::vector<std::string> kEverySite = {"all-linear", "embed_tokens", "lm_head"};
const std::vector<int32_t> kTokens = {3, 17, 9, 64, 22, 5, 17, 100, 41};

class Folder {
 public:
  Folder() : path_(fs::temp_directory_path() / ("moxie-adapt-" + std::to_string(::getpid()))) {
    fs::create_directories(path_);
  }
  ~Folder() { fs::remove_all(path_); }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

nn::Batch batch_of(const std::vector<int32_t>& tokens) {
  nn::Batch batch;
  batch.add(tokens);
  batch.add({7, 8, 9, 10});
  return batch;
}

Tensor logits_of(const models::Model& model) {
  const ops::NoTape quiet;
  return model.decoder->logits(model.decoder->forward(batch_of(kTokens)));
}

double distance(const Tensor& a, const Tensor& b) {
  double difference = 0;
  double size = 0;
  for (int64_t i = 0; i < a.count(); ++i) {
    difference += std::pow(a.data<float>()[i] - b.data<float>()[i], 2.0);
    size += std::pow(b.data<float>()[i], 2.0);
  }
  return std::sqrt(difference / size);
}

// Moves every parameter away from its start, so that the adapter does something.
void stir(const nn::ParamList& params, double size = 0.1) {
  Rng rng(5);
  for (nn::Param* param : params) {
    for (float& value : param->value.span<float>())
      value += static_cast<float>(size * rng.normal());
  }
}

std::unique_ptr<Attachment> attach(models::Model& model, const Named<MethodEntry>& row,
                                   std::vector<std::string> targets = {"all-linear"}) {
  auto method = row->create();
  TargetOptions options;
  options.targets = std::move(targets);
  return Attachment::create(model, std::string(row.name), std::move(method), options, 1);
}

double loss_of(const nn::Decoder& decoder) {
  const nn::Batch batch = batch_of(kTokens);
  std::vector<int64_t> labels(batch.tokens.size(), -1);
  for (size_t i = 0; i + 1 < kTokens.size(); i += 2) labels[i] = kTokens[i + 1];
  return decoder.loss(decoder.forward(batch), labels).data<double>()[0];
}

TEST(Methods, TableHasEveryRow) {
  EXPECT_EQ(methods().size(), 1u);
  for (const auto& row : methods()) {
    EXPECT_GT(std::strlen(row->paper), 10u) << row.name;
    EXPECT_FALSE(row->create()->options().empty()) << row.name;
  }
}

TEST(Methods, StartAsIdentity) {
  for (const auto& row : methods()) {
    auto model = models::load(kModels / "llama");
    const Tensor before = logits_of(model);
    const auto attachment = attach(model, row);
    EXPECT_GE(attachment->adapters().size(), 14u);
    EXPECT_EQ(0, std::memcmp(before.raw(), logits_of(model).raw(), before.bytes())) << row.name;
  }
}

TEST(Methods, GradientsOfAWholeModelEqualFiniteDifferences) {
  int checked = 0;
  for (const char* name : {"llama", "gemma3", "phi3", "olmo2"}) {
    for (const auto& row : methods()) {
      auto model = models::load(kModels / name);
      const auto attachment = attach(model, row, kEverySite);
      stir(attachment->params(), 0.05);
      model.decoder->widen();
      for (nn::Param* param : attachment->params()) param->value = param->value.to(DType::kF64);
      {
        ops::Tape tape;
        const nn::Batch batch = batch_of(kTokens);
        std::vector<int64_t> labels(batch.tokens.size(), -1);
        for (size_t i = 0; i + 1 < kTokens.size(); i += 2) labels[i] = kTokens[i + 1];
        tape.backward(model.decoder->loss(model.decoder->forward(batch), labels));
      }
      Rng rng(3);
      for (nn::Param* param : attachment->params()) {
        double* value = param->value.data<double>();
        const auto at =
            static_cast<int64_t>(rng.below(static_cast<uint64_t>(param->value.count())));
        const double kept = value[at];
        const double step = 1e-5;
        const ops::NoTape quiet;
        value[at] = kept + step;
        const double up = loss_of(*model.decoder);
        value[at] = kept - step;
        const double down = loss_of(*model.decoder);
        value[at] = kept;
        const double numeric = (up - down) / (2 * step);
        EXPECT_NEAR(param->gradient.data<double>()[at], numeric, 1e-6 * (1 + std::abs(numeric)))
            << name << " " << param->name;
        ++checked;
      }
    }
  }
  EXPECT_GE(checked, 100);
}

TEST(Methods, RoundTripThroughAPeftFolder) {
  const Folder folder;
  for (const auto& row : methods()) {
    auto model = models::load(kModels / "llama");
    Tensor wanted;
    {
      const auto attachment = attach(model, row, kEverySite);
      stir(attachment->params());
      wanted = logits_of(model);
      attachment->save(folder.path());
    }
    EXPECT_GT(distance(logits_of(model), wanted), 1e-3)
        << "detached adapters must not act any more";
    const auto loaded = Attachment::load(model, folder.path());
    EXPECT_EQ(0, std::memcmp(wanted.raw(), logits_of(model).raw(), wanted.bytes())) << row.name;
  }
}

TEST(Methods, MergedEqualsAttached) {
  for (const auto& row : methods()) {
    if (row->not_mergeable != nullptr) continue;
    auto model = models::load(kModels / "llama");
    const auto attachment = attach(model, row, kEverySite);
    stir(attachment->params());
    const Tensor attached = logits_of(model);
    attachment->merge(model);
    EXPECT_LT(distance(logits_of(model), attached), 2e-6) << row.name;
  }
}

// Few rows take an adapter along with the product of the weight: no other numbers than many rows
// get, whatever the threads.
TEST(Methods, OneTokenAtATimeIsAsAllAtOnce) {
  const Folder folder;
  const fs::path source = kModels.parent_path() / "lora_curve/base";
  models::save_gguf(models::load(source), folder.path() / "model.gguf", "q8_0");
  const int before = thread_count();
  // A step of x's 8-bit codes is 1/127 of the largest: where the attentions of one and of many
  // queries differ in a last bit, some x is rounded to the next code.
  const std::pair<quant::Compute, double> cases[] = {{quant::Compute::kF32, 2e-6},
                                                     {quant::Compute::kInt8, 8e-3}};
  for (const auto& row : methods()) {
    for (const auto& [compute, bound] : cases) {
      auto model = models::load(folder.path() / "model.gguf");
      model.decoder->set_compute(compute);
      const auto attachment = attach(model, row);
      stir(attachment->params());
      const ops::NoTape quiet;
      nn::Batch all;
      all.add(kTokens);
      const Tensor hidden = model.decoder->forward(all);
      std::vector<std::vector<float>> last;
      for (const int threads : {1, 2}) {
        set_thread_count(threads);
        nn::SequenceState state = model.decoder->new_state();
        Tensor one;
        for (size_t i = 0; i < kTokens.size(); ++i) {
          nn::Batch next;
          next.add({kTokens[i]}, static_cast<int32_t>(i));
          nn::ForwardOptions options;
          options.states = {&state};
          one = model.decoder->forward(next, options);
        }
        EXPECT_LT(distance(one, hidden.slice_rows(hidden.rows() - 1, hidden.rows())), bound)
            << row.name;
        last.emplace_back(one.span<float>().begin(), one.span<float>().end());
      }
      EXPECT_EQ(last[0], last[1]) << row.name;
      set_thread_count(before);
    }
  }
}

// Beside products in integers an adapter is a rounded copy, of 8 bits: off by no more than a
// fiftieth of what the adapter does, and made again when its params have changed.
TEST(Methods, RoundedCopiesFollowTheirParams) {
  const Folder folder;
  const fs::path source = kModels.parent_path() / "lora_curve/base";
  models::save_gguf(models::load(source), folder.path() / "model.gguf", "q8_0");
  for (const auto& row : methods()) {
    if (row->not_mergeable != nullptr) continue;
    auto model = models::load(folder.path() / "model.gguf");
    const auto hidden_of = [&model](bool is_training) {
      const ops::NoTape quiet;
      nn::ForwardOptions options;
      options.is_training = is_training;  // adapters in exact f32, and none of these drops
      return model.decoder->forward(batch_of(kTokens), options);
    };
    const Tensor base = hidden_of(false);
    model.decoder->set_compute(quant::Compute::kInt8);
    const Tensor rounded_base = hidden_of(false);
    const auto attachment = attach(model, row);
    EXPECT_EQ(0, std::memcmp(rounded_base.raw(), hidden_of(false).raw(), base.bytes())) << row.name;
    {  // a step of training makes what was rounded before it stale
      ops::Tape tape;
      const std::vector<int64_t> labels(batch_of(kTokens).tokens.size(), 3);
      tape.backward(model.decoder->loss(model.decoder->forward(batch_of(kTokens)), labels));
    }
    stir(attachment->params(), 0.05);
    const Tensor once = hidden_of(false);
    EXPECT_GT(distance(once, rounded_base), 0.05) << row.name;
    stir(attachment->params(), 0.05);
    for (nn::Param* param : attachment->params()) ++param->changes;
    const Tensor attached = hidden_of(false);
    EXPECT_GT(distance(once, attached), 0.05) << row.name;
    const Tensor exact = hidden_of(true);
    const double effect = distance(exact, rounded_base);
    EXPECT_GT(distance(attached, exact), 1e-6) << row.name;
    EXPECT_LT(distance(attached, exact), effect / 50) << row.name;
    attachment->merge(model);
    model.decoder->set_compute(quant::Compute::kF32);
    EXPECT_LT(distance(hidden_of(false), attached), effect / 50 + distance(base, rounded_base))
        << row.name;
  }
}

// --deterministic holds with an adapter too: one sequence takes it along with the weight's product,
// six do not.
TEST(Methods, BatchInvarianceHoldsForWhatIsAttached) {
  kernels::set_batch_invariant(true);
  for (const auto& row : methods()) {
    auto model = models::load(kModels / "llama");
    const auto attachment = attach(model, row);
    stir(attachment->params());
    const ops::NoTape quiet;
    std::vector<std::vector<float>> first;
    for (const int32_t others : {0, 5}) {
      nn::Batch batch;
      batch.add({kTokens[0]});
      for (int32_t i = 0; i < others; ++i) batch.add({20 + i});
      const Tensor hidden = model.decoder->forward(batch);
      first.emplace_back(hidden.data<float>(), hidden.data<float>() + hidden.cols());
    }
    EXPECT_EQ(first[0], first[1]) << row.name;
  }
  kernels::set_batch_invariant(false);
}

// A head that is one matrix with the embedding becomes one of its own.
TEST(Methods, MergingIntoATiedHeadUntiesIt) {
  for (const auto& row : methods()) {
    auto model = models::load(kModels / "gemma3");
    ASSERT_TRUE(model.decoder->config().ties_embeddings);
    const auto attachment = attach(model, row, {"lm_head"});
    ASSERT_EQ(attachment->adapters().size(), 1u);
    stir(attachment->params());
    const Tensor attached = logits_of(model);
    attachment->merge(model);
    EXPECT_FALSE(model.decoder->config().ties_embeddings);
    EXPECT_LT(distance(logits_of(model), attached), 2e-6) << row.name;
  }
}

TEST(Methods, ThreadsDoNotChangeABit) {
  const int before = thread_count();
  for (const auto& row : methods()) {
    std::vector<std::vector<float>> gradients;
    for (const int threads : {1, 2, 4}) {
      set_thread_count(threads);
      auto model = models::load(kModels / "llama");
      const auto attachment = attach(model, row);
      stir(attachment->params());
      ops::Tape tape;
      const nn::Batch batch = batch_of(kTokens);
      std::vector<int64_t> labels(batch.tokens.begin(), batch.tokens.end());
      tape.backward(model.decoder->loss(model.decoder->forward(batch), labels));
      std::vector<float> all;
      for (nn::Param* param : attachment->params()) {
        all.insert(all.end(), param->gradient.span<float>().begin(),
                   param->gradient.span<float>().end());
      }
      gradients.push_back(std::move(all));
    }
    EXPECT_EQ(gradients[0], gradients[1]) << row.name;
    EXPECT_EQ(gradients[0], gradients[2]) << row.name;
  }
  set_thread_count(before);
}

std::string error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Targets, APatternThatMatchesNothingIsAnError) {
  auto model = models::load(kModels / "llama");
  for (const std::string pattern : {"qproj", ".*nothing.*"}) {
    const std::string error = error_of([&] { attach(model, methods()[0], {pattern}); });
    EXPECT_NE(error.find("q_proj"), std::string::npos) << "must name what there is: " << error;
  }
  EXPECT_NE(
      error_of([&] { attach(model, methods()[0], {"(unclosed"}); }).find("regular expression"),
      std::string::npos);
}

// Multiplies what it is given, as a tap of any site may.
class Scales : public nn::Tap {
 public:
  explicit Scales(float factor) : factor_(factor) {}
  Tensor apply(const Tensor& /*x*/, Tensor y, const nn::TapContext& /*context*/) override {
    Tensor z = y.clone();
    for (float& value : z.span<float>()) value *= factor_;
    return z;
  }

 private:
  float factor_;
};

// Attention without values is attention whose output projection gives nothing; and what the cache
// holds went through the taps once.
TEST(Sites, KeysAndValuesCanBeTapped) {
  const auto logits = [](const std::string& ending, float factor, bool is_cached) {
    const auto model = models::load(kModels / "llama");
    int64_t tapped = 0;
    for (nn::Site* site : model.decoder->sites()) {
      if (!site->name.ends_with(ending)) continue;
      EXPECT_EQ(site->kind == nn::SiteKind::kKv, ending != ".attn.o") << site->name;
      site->taps.push_back(std::make_shared<Scales>(factor));
      ++tapped;
    }
    EXPECT_EQ(tapped, static_cast<int64_t>(model.decoder->config().layers.size())) << ending;
    const std::vector<int32_t> tokens = {5, 9, 2, 7};
    nn::SequenceState state = model.decoder->new_state();
    nn::ForwardOptions options;
    if (is_cached) options.states = {&state};
    Tensor hidden;
    for (size_t i = 0; i < tokens.size(); i += is_cached ? 1 : tokens.size()) {
      nn::Batch batch;
      batch.add(is_cached ? std::vector<int32_t>{tokens[i]} : tokens, static_cast<int32_t>(i));
      hidden = model.decoder->forward(batch, options);
    }
    const Tensor last = model.decoder->logits(hidden.slice_rows(hidden.rows() - 1, hidden.rows()));
    return std::vector<float>(last.data<float>(), last.data<float>() + last.count());
  };
  const auto expect_near = [](const std::vector<float>& got, const std::vector<float>& want) {
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-5) << i;
  };
  expect_near(logits(".attn.values", 0, false), logits(".attn.o", 0, false));
  expect_near(logits(".attn.values", 0.5f, false), logits(".attn.o", 0.5f, false));
  for (const char* site : {".attn.keys", ".attn.values"}) {
    expect_near(logits(site, 0.5f, true), logits(site, 0.5f, false));
    EXPECT_NE(logits(site, 0.5f, false), logits(site, 1, false)) << site;
  }
}

TEST(Targets, PeftsRulesOfMatching) {
  EXPECT_TRUE(matches_module("q_proj", "model.layers.3.self_attn.q_proj"));
  EXPECT_FALSE(matches_module("proj", "model.layers.3.self_attn.q_proj"));
  EXPECT_TRUE(matches_module("self_attn.q_proj", "model.layers.3.self_attn.q_proj"));
  EXPECT_TRUE(matches_module(".*\\.(q|v)_proj", "model.layers.3.self_attn.v_proj"));
  EXPECT_FALSE(matches_module(".*\\.(q|v)_proj", "model.layers.3.self_attn.k_proj"));
}

// Backtracking would take 2^40 steps.
TEST(Targets, AHostilePatternTakesNoTime) {
  EXPECT_FALSE(matches_module("(([a-z]+)*)*!", std::string(40, 'a')));
}

TEST(Lora, ARankAboveTheSizesIsRefusedWithBothFacts) {
  auto model = models::load(kModels / "llama");
  auto method = require_row(methods(), "method", "lora")->create();
  set_options(method->options(), Json{{"rank", 512}}, "test");
  const std::string error =
      error_of([&] { Attachment::create(model, "lora", std::move(method), {}, 1); });
  EXPECT_NE(error.find("rank 512 exceeds min(in="), std::string::npos) << error;
}

// Rules A1 to A3: an adapter of another shape, for modules that are not there, or with settings
// Moxie would have to ignore is refused, and nothing stays attached.
class HostileAdapters : public testing::Test {
 protected:
  void SetUp() override {
    model_ = models::load(kModels / "llama");
    attach(model_, methods()[0])->save(folder_.path());
    config_ = read_json_file(folder_.path() / "adapter_config.json");
  }
  std::string load_error() {
    const std::string error = error_of([&] { Attachment::load(model_, folder_.path()); });
    for (const nn::Site* site : model_.decoder->sites())
      EXPECT_TRUE(site->taps.empty()) << site->name;
    return error;
  }
  void write_config() {
    write_file_atomically(folder_.path() / "adapter_config.json", config_.dump());
  }
  Folder folder_;
  models::Model model_;
  Json config_;
};

// PEFT writes a copy of the embedding beside a LoRA on it.
TEST_F(HostileAdapters, ACopyOfTheBaseIsTakenOnlyWhenItIsOne) {
  attach(model_, methods()[0], {"embed_tokens"})->save(folder_.path());
  const auto file = io::Safetensors::open(folder_.path() / "adapter_model.safetensors");
  std::vector<io::NamedTensor> tensors;
  for (const auto& stored : file->tensors()) tensors.push_back({stored.name, stored.as_f32()});
  Tensor copy = model_.decoder->matrices().front()->decode();
  tensors.push_back({"base_model.model.model.embed_tokens.base_layer.weight", copy});
  io::write_safetensors(folder_.path() / "adapter_model.safetensors", tensors);
  EXPECT_EQ(load_error(), "");
  copy.data<float>()[5] += 4;
  io::write_safetensors(folder_.path() / "adapter_model.safetensors", tensors);
  EXPECT_NE(load_error().find("is not the matrix of this base model"), std::string::npos);
}

TEST_F(HostileAdapters, AnotherRankThanTheTensors) {
  config_["r"] = 3;
  write_config();
  EXPECT_NE(load_error().find("but this model and config ask for [3,"), std::string::npos);
}

// PEFT's own defaults (r 8, lora_alpha 8), not those of new adapters here.
TEST_F(HostileAdapters, WhatTheConfigLeavesOutIsPeftsDefault) {
  config_.erase("lora_alpha");
  write_config();
  const auto adapter = Attachment::load(model_, folder_.path());
  EXPECT_EQ(adapter->method().to_peft_config()["lora_alpha"], 8);
  adapter->detach();
  config_.erase("r");
  write_config();
  EXPECT_NE(load_error().find("but this model and config ask for [8,"), std::string::npos);
}

TEST_F(HostileAdapters, ForAnotherBase) {
  model_ = models::load(kModels / "llama_head_dim");
  EXPECT_NE(load_error().find("ask for"), std::string::npos);
}

TEST_F(HostileAdapters, SettingsThatCannotBeHonoured) {
  const Json kept = config_;
  const std::pair<const char*, Json> settings[] = {
      {"use_dora", true},          {"bias", "all"},
      {"lora_bias", true},         {"modules_to_save", {"lm_head"}},
      {"fan_in_fan_out", true},    {"layer_replication", {{0, 1}}},
      {"target_parameters", {"x"}}};
  for (const auto& [key, value] : settings) {
    config_ = kept;
    config_[key] = value;
    write_config();
    EXPECT_NE(load_error().find(key), std::string::npos) << key;
  }
  config_ = kept;
  for (int i = 0; i < 300; ++i) config_["rank_pattern"]["layer" + std::to_string(i)] = 4;
  write_config();
  EXPECT_NE(load_error().find("has 300 patterns"), std::string::npos);
  config_ = kept;
  config_["alpha_pattern"] = {{"q_proj", 4}, {".*_proj", 5}};
  write_config();
  EXPECT_NE(load_error().find("different values"), std::string::npos);
  config_ = kept;
  config_["peft_type"] = "NEW";
  write_config();
  EXPECT_NE(load_error().find("peft_type 'NEW'"), std::string::npos);
  config_ = kept;
  config_["r"] = "eight";
  write_config();
  EXPECT_NE(load_error().find("rank"), std::string::npos);
}

TEST_F(HostileAdapters, BrokenFiles) {
  write_file_atomically(folder_.path() / "adapter_config.json", "{\"peft_type\": ");
  EXPECT_NE(load_error().find("not valid JSON"), std::string::npos);
  write_config();
  write_file_atomically(folder_.path() / "adapter_model.safetensors", "short");
  EXPECT_FALSE(load_error().empty());
  fs::remove(folder_.path() / "adapter_model.safetensors");
  EXPECT_NE(load_error().find("adapter_model.safetensors"), std::string::npos);
  fs::remove(folder_.path() / "adapter_config.json");
  EXPECT_NE(load_error().find("no adapter_config.json"), std::string::npos);
}

}  // namespace
}  // namespace moxie::adapt
