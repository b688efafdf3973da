// Thirty steps of `tune` against PEFT and transformers in f32, from the same adapter, data and
// order (tests/golden/lora_curve/make.py): every loss within 1e-4, what was trained within 1e-3.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <map>

#include "base/cpu.h"
#include "base/files.h"
#include "io/safetensors.h"
#include "kernels/micro_codes.h"
#include "kernels/micro_tiles.h"
#include "models/load.h"
#include "models/save_gguf.h"
#include "recipes/report.h"
#include "recipes/tune.h"

namespace moxie::recipes {
namespace fs = std::filesystem;
namespace {

const fs::path kGolden = fs::path(MOXIE_SOURCE_DIR) / "tests/golden/lora_curve";

// Runs with the flags that the golden file states; paths in them are relative to its folder.
fs::path run_golden(const Json& golden, const fs::path& out,
                    const std::function<void(TuneOptions&)>& change = {}) {
  TuneOptions options;
  const auto listed = list_options(options);
  const auto set = [&](std::string name, const std::string& value) {
    std::replace(name.begin(), name.end(), '-', '_');
    const auto option =
        std::find_if(listed.begin(), listed.end(), [&](const Option& o) { return o.name == name; });
    ASSERT_NE(option, listed.end()) << name;
    set_option_from_text(*option, value, "golden");
  };
  const auto flags = golden.at("flags").get<std::vector<std::string>>();
  options.model = (kGolden / flags.at(1)).string();
  for (size_t i = 2; i < flags.size(); ++i) {
    const std::string name = flags[i].substr(2);
    const bool has_value = i + 1 < flags.size() && !flags[i + 1].starts_with("--");
    const bool is_path = name == "data" || name == "init-adapter";
    set(name, !has_value ? "true" : is_path ? (kGolden / flags[i + 1]).string() : flags[i + 1]);
    i += has_value ? 1 : 0;
  }
  options.out = out.string();
  options.samples = 0;
  if (change) change(options);
  tune(options, nullptr);
  return out;
}

void expect_losses(const Json& golden, const fs::path& out) {
  const auto steps = read_step_metrics((out / "metrics.jsonl").string());
  const auto losses = golden.at("losses").get<std::vector<double>>();
  const auto norms = golden.at("grad_norms").get<std::vector<double>>();
  const auto rates = golden.at("learning_rates").get<std::vector<double>>();
  ASSERT_EQ(steps.size(), losses.size());
  for (size_t i = 0; i < losses.size(); ++i) {
    EXPECT_NEAR(steps[i].loss, losses[i], 1e-4 * losses[i]) << "step " << i + 1;
    EXPECT_NEAR(steps[i].grad_norm, norms[i], 1e-3 * norms[i]) << "step " << i + 1;
    EXPECT_NEAR(steps[i].learning_rate, rates[i], 1e-8) << "step " << i + 1;
  }
}

void expect_tensors(const fs::path& ours, const fs::path& theirs) {
  const auto mine = io::Safetensors::open(ours);
  const auto wanted = io::Safetensors::open(theirs);
  int compared = 0;
  for (const auto& tensor : wanted->tensors()) {
    const auto* other = mine->find(tensor.name);
    ASSERT_NE(other, nullptr) << tensor.name;
    const Tensor a = other->as_f32();
    const Tensor b = tensor.as_f32();
    ASSERT_EQ(a.shape(), b.shape()) << tensor.name;
    double difference = 0;
    double size = 0;
    for (int64_t i = 0; i < a.count(); ++i) {
      difference += std::pow(a.data<float>()[i] - b.data<float>()[i], 2.0);
      size += std::pow(b.data<float>()[i], 2.0);
    }
    EXPECT_LE(std::sqrt(difference), 1e-3 * std::sqrt(size)) << tensor.name;
    ++compared;
  }
  EXPECT_GE(compared, 10);
}

class TrainingCurve : public testing::Test {
 protected:
  void SetUp() override {
    ::setenv("XDG_DATA_HOME", out_.c_str(), 1);  // the diary of runs stays out of the user's
    fs::create_directories(out_);
  }
  void TearDown() override { fs::remove_all(out_); }
  const fs::path out_ = fs::temp_directory_path() / ("moxie-curve-" + std::to_string(::getpid()));
};

TEST_F(TrainingCurve, LoraEqualsPeft) {
  const Json golden = read_json_file(kGolden / "lora.json");
  run_golden(golden, out_ / "lora");
  expect_losses(golden, out_ / "lora");
  expect_tensors(out_ / "lora/adapter_model.safetensors",
                 kGolden / "adapter_final/adapter_model.safetensors");
}

TEST_F(TrainingCurve, FullFineTuningEqualsTransformers) {
  const Json golden = read_json_file(kGolden / "full.json");
  run_golden(golden, out_ / "full");
  expect_losses(golden, out_ / "full");
  expect_tensors(out_ / "full/model.safetensors", kGolden / "full_final.safetensors");
}

std::vector<double> losses_of(const fs::path& out) {
  std::vector<double> losses;
  for (const auto& step : read_step_metrics((out / "metrics.jsonl").string()))
    losses.push_back(step.loss);
  return losses;
}

// Off by no more than rounding, and not to one side. A single step of this small model is off by up
// to 3e-3, and differently on each instruction set.
void expect_follows(const std::vector<double>& losses, const std::vector<double>& exact,
                    double most = 5e-3, double on_the_whole = 8e-4) {
  ASSERT_EQ(exact.size(), 30U);
  ASSERT_EQ(losses.size(), 30U);
  EXPECT_NE(losses, exact);
  double sum = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    EXPECT_NEAR(losses[i], exact[i], most * exact[i]) << "step " << i;
    sum += losses[i] / exact[i] - 1;
  }
  EXPECT_NEAR(sum / 30, 0, on_the_whole);
}

// On quantised weights the forward may multiply in integers, or gradients with AMX, or all of a
// step in bf16: the curve stays that of exact arithmetic but for the rounding. Where tiles of
// integers are fastest, int8 rounds the matrices too that Q8_0's blocks do not fit, and auto leaves
// these in bf16.
TEST_F(TrainingCurve, RoundedProductsFollowTheExactOnes) {
  const Json golden = read_json_file(kGolden / "lora.json");
  const fs::path file = out_ / "base.gguf";
  models::save_gguf(models::load(kGolden / "base"), file, "q8_0");
  std::map<std::string, std::vector<double>> curves;
  for (const std::string dtype : {"f32", "int8", "bf16", "auto"}) {
    run_golden(golden, out_ / dtype, [&](TuneOptions& options) {
      options.model = file.string();
      options.dtype = dtype;
    });
    curves[dtype] = losses_of(out_ / dtype);
  }
  expect_follows(curves["bf16"], curves["f32"]);
  expect_follows(curves["auto"], curves["f32"]);
  if (kernels::int8_tiles_are_fastest()) {
    expect_follows(curves["int8"], curves["f32"], 1e-2, 3e-3);
    EXPECT_NE(curves["auto"], curves["int8"]);
  } else {
    expect_follows(curves["int8"], curves["f32"]);
    const bool is_bf16 = has_bf16_tiles() && !kernels::codes_are_fastest();
    EXPECT_EQ(curves["auto"], curves[is_bf16 ? "bf16" : "int8"]);
  }
}

// Every product of a step, of an adapter on f32 weights and of all weights.
TEST_F(TrainingCurve, ProductsInInt16AndBF16FollowTheExactOnes) {
  const std::map<std::string, double> tolerances = {{"int16", 5e-4}, {"bf16", 5e-3}};
  for (const std::string what : {"lora", "full"}) {
    const Json golden = read_json_file(kGolden / (what + ".json"));
    const auto exact = golden["losses"].get<std::vector<double>>();
    for (const auto& [dtype, tolerance] : tolerances) {
      const fs::path out = out_ / (what + dtype);
      run_golden(golden, out, [name = dtype](TuneOptions& options) { options.dtype = name; });
      const auto losses = losses_of(out);
      ASSERT_EQ(losses.size(), exact.size());
      EXPECT_NE(losses, exact);
      for (size_t i = 0; i < exact.size(); ++i) {
        EXPECT_NEAR(losses[i], exact[i], tolerance * exact[i])
            << what << " in " << dtype << ", step " << i + 1;
      }
    }
  }
}

}  // namespace
}  // namespace moxie::recipes
