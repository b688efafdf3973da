// Optimizers, clipping and schedules against torch and transformers (tests/golden/optim/).
#include <gtest/gtest.h>

#include <cmath>
#include <memory>

#include "base/json.h"
#include "optim/clip.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"

namespace moxie::optim {
namespace {

// One rounding of f32 apart at each of a step's few operations.
constexpr double kRelative = 1e-6;

Json golden() {
  return read_json_file(MOXIE_SOURCE_DIR "/tests/golden/optim/golden.json");
}

Tensor tensor_of(const Json& numbers) {
  const auto values = numbers.get<std::vector<float>>();
  return Tensor::of<float>(values, {static_cast<int64_t>(values.size())});
}

void expect_near(const Tensor& got, const Json& want, const std::string& what) {
  ASSERT_EQ(static_cast<size_t>(got.count()), want.size()) << what;
  for (size_t i = 0; i < want.size(); ++i) {
    const double target = want[i].get<double>();
    EXPECT_NEAR(got.data<float>()[i], target, kRelative * std::max(1.0, std::fabs(target)))
        << what << " element " << i;
  }
}

struct Params {
  std::vector<std::unique_ptr<nn::Param>> owned;
  nn::ParamList list;
  explicit Params(const Json& values) {
    for (const auto& numbers : values) {
      owned.push_back(std::make_unique<nn::Param>());
      owned.back()->name = fmt::format("p{}", owned.size());
      owned.back()->value = tensor_of(numbers);
      list.push_back(owned.back().get());
    }
  }
  void set_gradients(const Json& gradients) {
    for (size_t i = 0; i < owned.size(); ++i) {
      owned[i]->gradient = gradients[i].is_null() ? Tensor() : tensor_of(gradients[i]);
    }
  }
};

TEST(OptimGolden, OptimizersFollowTorch) {
  const Json file = golden();
  int cases = 0;
  for (const auto& test : file["optimizers"]) {
    const auto name = test["optimizer"].get<std::string>();
    const auto optimizer = require_row(optimizers(), "optimizer", name)->create();
    set_options(optimizer->options(), test["options"], name);
    Params params(test["initial"]);
    optimizer->attach(params.list);
    for (size_t s = 0; s < test["steps"].size(); ++s) {
      const Json& step = test["steps"][s];
      params.set_gradients(step["gradients"]);
      optimizer->step(step["learning_rate"].get<double>());
      for (size_t i = 0; i < params.list.size(); ++i) {
        expect_near(params.list[i]->value, step["values"][i],
                    name + test["options"].dump() + " step " + std::to_string(s) + " param " +
                        std::to_string(i));
      }
    }
    ++cases;
  }
  EXPECT_EQ(cases, 6);
}

TEST(OptimGolden, EveryOptimizerAndScheduleHasAGolden) {
  const Json file = golden();
  size_t rows = 0;
  for (const auto& row : optimizers()) {
    const auto& cases = file["optimizers"];
    EXPECT_TRUE(std::any_of(cases.begin(), cases.end(), [&](const Json& test) {
      return test["optimizer"] == row.name;
    })) << row.name;
    ++rows;
  }
  for (const auto& row : schedules()) {
    const auto& cases = file["schedules"];
    EXPECT_TRUE(std::any_of(cases.begin(), cases.end(), [&](const Json& test) {
      return test["schedule"] == row.name;
    })) << row.name;
    ++rows;
  }
  EXPECT_EQ(rows, 6U);
}

TEST(OptimGolden, ClippingFollowsTorch) {
  const Json file = golden();
  int clipped = 0;
  for (const auto& test : file["clips"]) {
    Params params(test["gradients"]);
    params.set_gradients(test["gradients"]);
    const double norm = gradient_norm(params.list);
    const float factor = clip_factor(norm, test["max_norm"].get<double>());
    const double want = test["norm"].get<double>();
    EXPECT_NEAR(norm, want, kRelative * want);
    for (size_t i = 0; i < params.list.size(); ++i) {
      for (float& x : params.list[i]->gradient.span<float>()) x *= factor;
      expect_near(params.list[i]->gradient, test["clipped"][i], "clipped");
    }
    clipped += norm > test["max_norm"].get<double>() ? 1 : 0;
  }
  EXPECT_EQ(clipped, 2);  // and one that stays as it is
}

TEST(OptimGolden, SchedulesFollowTransformers) {
  const Json file = golden();
  int rates = 0;
  for (const auto& test : file["schedules"]) {
    const double decay = test["decay"].is_null() ? 0 : test["decay"].get<double>();
    const Schedule schedule(test["schedule"].get<std::string>(), test["base"].get<double>(),
                            test["total"].get<int64_t>(), test["warmup"].get<double>(), decay);
    for (size_t k = 0; k < test["rates"].size(); ++k) {
      const double want = test["rates"][k].get<double>();
      EXPECT_NEAR(schedule.learning_rate(static_cast<int64_t>(k)), want, 1e-15)
          << test["schedule"] << " warm-up " << test["warmup"] << " step " << k;
      ++rates;
    }
  }
  EXPECT_EQ(rates, 4 * (13 + 13 + 22 + 21));
}

}  // namespace
}  // namespace moxie::optim
