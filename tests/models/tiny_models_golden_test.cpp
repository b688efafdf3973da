// Logits, losses and gradients of every tiny checkpoint equal transformers'
// (tests/golden/tiny_models and tiny_gguf, made by the make.py beside them). f32 against f32:
// relative error at most 1e-4.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include "base/json.h"
#include "io/safetensors.h"
#include "models/load.h"
#include "ops/scale.h"
#include "ops/tape.h"

namespace moxie {
namespace {

namespace fs = std::filesystem;
constexpr double kBound = 1e-4;
const fs::path kGolden = fs::path(MOXIE_SOURCE_DIR) / "tests" / "golden";

struct Golden {
  fs::path model, file;
};

void PrintTo(const Golden& golden, std::ostream* out) {
  *out << golden.model.filename().string();
}

std::vector<Golden> all() {
  std::vector<Golden> found;
  for (const auto& entry : fs::directory_iterator(kGolden / "tiny_models")) {
    if (fs::exists(entry.path() / "config.json")) {
      found.push_back({entry.path(), entry.path() / "golden.safetensors"});
    }
  }
  for (const auto& entry : fs::directory_iterator(kGolden / "tiny_gguf")) {
    if (entry.path().extension() == ".gguf") {
      found.push_back({entry.path(), kGolden / "tiny_gguf" /
                                         (entry.path().stem().string() + ".golden.safetensors")});
    }
  }
  std::sort(found.begin(), found.end(),
            [](const Golden& a, const Golden& b) { return a.model < b.model; });
  return found;
}

std::vector<float> floats(const io::Safetensors& file, const std::string& name) {
  const Tensor tensor = file.find(name)->as_f32();
  return {tensor.span<float>().begin(), tensor.span<float>().end()};
}

std::vector<int32_t> input_ids(const io::Safetensors& file) {
  const Tensor tensor = file.find("input_ids")->as_tensor();
  return {tensor.span<int32_t>().begin(), tensor.span<int32_t>().end()};
}

double relative(std::span<const float> ours, std::span<const float> reference) {
  EXPECT_EQ(ours.size(), reference.size());
  double difference = 0, norm = 0;
  for (size_t i = 0; i < std::min(ours.size(), reference.size()); ++i) {
    difference += std::pow(double{ours[i]} - double{reference[i]}, 2);
    norm += std::pow(double{reference[i]}, 2);
  }
  return std::sqrt(difference / norm);
}

void expect_logits(const Tensor& ours, std::span<const float> reference) {
  const auto cols = static_cast<size_t>(ours.cols());
  EXPECT_LE(relative(ours.span<float>(), reference), kBound);
  for (size_t row = 0; row < static_cast<size_t>(ours.rows()); ++row) {
    const auto mine = ours.span<float>().subspan(row * cols, cols);
    const auto theirs = reference.subspan(row * cols, cols);
    EXPECT_EQ(std::max_element(mine.begin(), mine.end()) - mine.begin(),
              std::max_element(theirs.begin(), theirs.end()) - theirs.begin())
        << "the first choice at position " << row;
  }
}

class TinyModels : public testing::TestWithParam<Golden> {
 protected:
  void SetUp() override {
    model_ = models::load(GetParam().model);
    model_.decoder->set_compute(quant::Compute::kF32);
    golden_ = io::Safetensors::open(GetParam().file);
    ids_ = input_ids(*golden_);
  }

  // Mean next-token loss and the norm of its gradient over every parameter.
  std::pair<double, double> loss_and_gradient(bool recomputes) {
    std::vector<int64_t> labels(ids_.begin() + 1, ids_.end());
    labels.push_back(-1);
    nn::Batch batch;
    batch.add(ids_);
    nn::ForwardOptions options;
    options.is_training = true;
    options.recomputes = recomputes;
    const nn::ParamList params = model_.decoder->params();
    nn::zero_gradients(params);
    double loss_value = 0;
    {
      ops::Tape tape;
      const Tensor hidden = model_.decoder->forward(batch, options);
      const Tensor loss = ops::scale(model_.decoder->loss(hidden, labels),
                                     1.0 / static_cast<double>(ids_.size() - 1));
      tape.backward(loss);
      loss_value = loss.data<float>()[0];
    }
    double squares = 0;
    for (const nn::Param* param : params) {
      if (!param->gradient.defined()) continue;
      for (float g : param->gradient.span<float>()) squares += double{g} * double{g};
    }
    return {loss_value, std::sqrt(squares)};
  }

  models::Model model_;
  std::shared_ptr<const io::Safetensors> golden_;
  std::vector<int32_t> ids_;
};

TEST_P(TinyModels, LogitsEqualTransformers) {
  nn::Batch batch;
  batch.add(ids_);
  expect_logits(model_.decoder->logits(model_.decoder->forward(batch)), floats(*golden_, "logits"));
}

// The same sequence between two others: what stands beside it in the batch does not reach it.
TEST_P(TinyModels, NeighboursInTheBatchDoNotMatter) {
  nn::Batch batch;
  const std::vector<int32_t> other(ids_.rbegin(), ids_.rend() - 5);
  batch.add(other);
  batch.add(ids_);
  batch.add({7, 8, 9});
  const Tensor hidden = model_.decoder->forward(batch);
  const Tensor middle = hidden.slice_rows(batch.offsets[1], batch.offsets[2]);
  expect_logits(model_.decoder->logits(middle), floats(*golden_, "logits"));
}

// Read in pieces through the per-sequence state, as generation does: 11 tokens, 1, then the rest.
TEST_P(TinyModels, PiecesWithStateEqualTheWhole) {
  for (const nn::RopeConfig& rope : model_.decoder->config().ropes) {
    // These two types choose frequencies by the length so far: pieces differ, as they do in
    // transformers.
    if (rope.type == "dynamic" || rope.type == "longrope") return;
  }
  nn::SequenceState state = model_.decoder->new_state();
  const std::vector<float> reference = floats(*golden_, "logits");
  const auto vocab = static_cast<size_t>(model_.decoder->config().vocab);
  size_t done = 0;
  for (size_t end : {size_t{11}, size_t{12}, ids_.size()}) {
    nn::Batch batch;
    batch.add(
        {ids_.begin() + static_cast<ptrdiff_t>(done), ids_.begin() + static_cast<ptrdiff_t>(end)},
        static_cast<int32_t>(done));
    nn::ForwardOptions options;
    options.states = {&state};
    const Tensor logits = model_.decoder->logits(model_.decoder->forward(batch, options));
    expect_logits(logits, std::span(reference).subspan(done * vocab, (end - done) * vocab));
    done = end;
  }
  EXPECT_EQ(state.length(), static_cast<int64_t>(ids_.size()));
}

TEST_P(TinyModels, GradientsEqualTransformers) {
  model_.decoder->make_trainable();
  const auto [loss, norm] = loss_and_gradient(false);
  const double expected_loss = floats(*golden_, "loss")[0],
               expected_norm = floats(*golden_, "grad_norm")[0];
  EXPECT_NEAR(loss, expected_loss, 1e-5 * expected_loss);
  EXPECT_NEAR(norm, expected_norm, 1e-4 * expected_norm);
  const auto [again, recomputed] = loss_and_gradient(true);
  EXPECT_NEAR(again, loss, 1e-6 * loss);
  EXPECT_NEAR(recomputed, norm, 1e-6 * norm);
}

INSTANTIATE_TEST_SUITE_P(Golden, TinyModels, testing::ValuesIn(all()), [](const auto& row) {
  const bool is_gguf = row.param.model.extension() == ".gguf";
  return row.param.model.stem().string() + (is_gguf ? "_gguf" : "");
});

// Every architecture has a checkpoint here, and none of the folders is silently passed over.
TEST(TinyModelsTable, CoversEveryArchitecture) {
  EXPECT_EQ(all().size(), 39u);
  std::set<std::string> covered;
  for (const Golden& golden : all()) {
    const fs::path config = golden.model / "config.json";
    if (!fs::exists(config)) continue;
    covered.insert(models::load(golden.model).hf_config["model_type"].get<std::string>());
  }
  for (const auto& architecture : models::architectures()) {
    EXPECT_TRUE(covered.contains(std::string(architecture.name)))
        << architecture.name << " has no tiny checkpoint";
  }
  EXPECT_GE(covered.size(), 10u);
}

}  // namespace
}  // namespace moxie
