// What every row of optim.list and schedules.list must hold, and what bad options get.
#include "optim/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>

#include "base/rng.h"
#include "base/threads.h"
#include "optim/clip.h"
#include "optim/schedule.h"

namespace moxie::optim {
namespace {

// Minimises sum (p - target)^2 / 2 over params of odd sizes, one of which spans several chunks.
class Bowl {
 public:
  Bowl() {
    Rng rng(3);
    for (const int64_t size : {1, 7, 40001}) {
      params_.push_back(std::make_unique<nn::Param>());
      nn::Param& param = *params_.back();
      param.name = fmt::format("w{}", size);
      param.value = Tensor::zeros({size}, DType::kF32);
      param.gradient = Tensor::zeros({size}, DType::kF32);
      targets_.push_back(Tensor::zeros({size}, DType::kF32));
      for (float& x : targets_.back().span<float>()) x = static_cast<float>(rng.normal());
      list_.push_back(&param);
    }
  }
  double backward() {
    double loss = 0;
    for (size_t i = 0; i < params_.size(); ++i) {
      for (int64_t k = 0; k < params_[i]->value.count(); ++k) {
        const float d = params_[i]->value.data<float>()[k] - targets_[i].data<float>()[k];
        params_[i]->gradient.data<float>()[k] = d;
        loss += 0.5 * static_cast<double>(d) * d;
      }
    }
    return loss;
  }
  const nn::ParamList& list() const { return list_; }
  std::vector<float> values() const {
    std::vector<float> all;
    for (const auto& param : params_) {
      const auto span = param->value.span<float>();
      all.insert(all.end(), span.begin(), span.end());
    }
    return all;
  }

 private:
  std::vector<std::unique_ptr<nn::Param>> params_;
  std::vector<Tensor> targets_;
  nn::ParamList list_;
};

// Each optimizer under the options that bring out all of its state.
std::unique_ptr<Optimizer> create(const Named<OptimizerDef>& row) {
  auto optimizer = row->create();
  for (const Option& option : optimizer->options()) {
    if (option.name == "momentum") set_option(option, Json(0.9), row.name);
    if (option.name == "weight_decay") set_option(option, Json(0.01), row.name);
  }
  return optimizer;
}

void run(Optimizer& optimizer, Bowl& bowl, int steps) {
  for (int i = 0; i < steps; ++i) {
    bowl.backward();
    optimizer.step(0.05);
  }
}

TEST(OptimizerTable, LowersTheLoss) {
  int rows = 0;
  for (const auto& row : optimizers()) {
    Bowl bowl;
    const auto optimizer = create(row);
    optimizer->attach(bowl.list());
    const double before = bowl.backward();
    run(*optimizer, bowl, 60);
    EXPECT_LT(bowl.backward(), 0.2 * before) << row.name;
    EXPECT_FALSE(row->summary.empty());
    EXPECT_FALSE(row->source.empty());
    ++rows;
  }
  EXPECT_EQ(rows, 2);
}

TEST(OptimizerTable, DoesNotDependOnThreads) {
  const int threads = thread_count();
  int rows = 0;
  for (const auto& row : optimizers()) {
    std::vector<std::vector<float>> results;
    for (const int count : {1, 2, 4}) {
      set_thread_count(count);
      Bowl bowl;
      const auto optimizer = create(row);
      optimizer->attach(bowl.list());
      for (int i = 0; i < 4; ++i) {
        bowl.backward();
        optimizer->step(0.05, clip_factor(gradient_norm(bowl.list()), 0.5));
      }
      results.push_back(bowl.values());
    }
    EXPECT_EQ(results[0], results[1]) << row.name;
    EXPECT_EQ(results[0], results[2]) << row.name;
    ++rows;
  }
  set_thread_count(threads);
  EXPECT_EQ(rows, 2);
}

TEST(OptimizerTable, StateRoundTripGoesOnBitForBit) {
  int rows = 0;
  for (const auto& row : optimizers()) {
    Bowl whole, resumed, forgetful;
    const auto first = create(row);
    first->attach(whole.list());
    run(*first, whole, 3);
    const auto second = create(row);
    second->attach(resumed.list());
    const auto saved = first->state();
    const auto restored = second->state();
    ASSERT_EQ(saved.size(), restored.size());
    for (size_t i = 0; i < saved.size(); ++i) {
      ASSERT_EQ(saved[i].name, restored[i].name);
      ASSERT_EQ(saved[i].tensor.bytes(), restored[i].tensor.bytes());
      std::memcpy(restored[i].tensor.raw(), saved[i].tensor.raw(), saved[i].tensor.bytes());
    }
    const auto third = create(row);
    third->attach(forgetful.list());
    for (size_t i = 0; i < whole.list().size(); ++i) {
      const Tensor& value = whole.list()[i]->value;
      std::memcpy(resumed.list()[i]->value.raw(), value.raw(), value.bytes());
      std::memcpy(forgetful.list()[i]->value.raw(), value.raw(), value.bytes());
    }
    run(*first, whole, 3);
    run(*second, resumed, 3);
    run(*third, forgetful, 3);
    EXPECT_EQ(whole.values(), resumed.values()) << row.name;
    EXPECT_NE(whole.values(), forgetful.values()) << row.name << ": the state has no effect";
    ++rows;
  }
  EXPECT_EQ(rows, 2);
}

TEST(OptimizerTable, RefusesBadOptions) {
  int rows = 0;
  for (const auto& row : optimizers()) {
    const auto optimizer = row->create();
    EXPECT_THROW(set_options(optimizer->options(), Json{{"weight_decay", -1.0}}, row.name), Error);
    try {
      set_options(optimizer->options(), Json{{"weight_decoy", 0.1}}, row.name);
      ADD_FAILURE() << "an unknown option was taken by " << row.name;
    } catch (const Error& error) {
      EXPECT_NE(error.message().find("weight_decay"), std::string::npos) << error.what();
    }
    ++rows;
  }
  EXPECT_EQ(rows, 2);
}

TEST(Optimizer, LeavesParamsAloneThatDoNotTrainOrDecay) {
  Bowl bowl;
  bowl.list()[0]->is_trainable = false;
  bowl.list()[1]->decays = false;
  const auto adamw = require_row(optimizers(), "optimizer", "adamw")->create();
  set_options(adamw->options(), Json{{"weight_decay", 0.5}}, "adamw");
  adamw->attach(bowl.list());
  EXPECT_EQ(adamw->params().size(), 2U);
  for (nn::Param* param : bowl.list()) {
    for (float& x : param->value.span<float>()) x = 1;
    for (float& g : param->gradient.span<float>()) g = 0;
  }
  adamw->step(0.1);
  EXPECT_EQ(bowl.list()[0]->value.data<float>()[0], 1.0F);
  EXPECT_EQ(bowl.list()[1]->value.data<float>()[0], 1.0F);
  EXPECT_FLOAT_EQ(bowl.list()[2]->value.data<float>()[0], 0.95F);
  EXPECT_EQ(bowl.list()[0]->changes, 0U);  // what was made of a value notices by these
  EXPECT_EQ(bowl.list()[2]->changes, 1U);
}

TEST(Optimizer, SaysWhenNothingTrains) {
  Bowl bowl;
  for (nn::Param* param : bowl.list()) param->is_trainable = false;
  const auto adamw = require_row(optimizers(), "optimizer", "adamw")->create();
  EXPECT_THROW(adamw->attach(bowl.list()), Error);
}

TEST(Optimizer, NesterovWithoutMomentumIsRefused) {
  Bowl bowl;
  const auto sgd = require_row(optimizers(), "optimizer", "sgd")->create();
  set_options(sgd->options(), Json{{"nesterov", true}}, "sgd");
  EXPECT_THROW(sgd->attach(bowl.list()), Error);
}

TEST(Clip, ScalesNothingByANormThatIsNotFinite) {
  Bowl bowl;
  bowl.backward();
  bowl.list()[1]->gradient.data<float>()[3] = std::nanf("");
  const double norm = gradient_norm(bowl.list());
  EXPECT_TRUE(std::isnan(norm));
  EXPECT_EQ(clip_factor(norm, 1e-3), 1.0F);
}

// A step by a factor is a step by gradients that were scaled before, to the bit.
TEST(OptimizerTable, ScalesGradientsAsItReadsThem) {
  for (const auto& row : optimizers()) {
    Bowl scaled, plain;
    const auto by_factor = create(row), by_hand = create(row);
    by_factor->attach(scaled.list());
    by_hand->attach(plain.list());
    for (int i = 0; i < 3; ++i) {
      scaled.backward();
      plain.backward();
      for (nn::Param* param : plain.list()) {
        for (float& x : param->gradient.span<float>()) x *= 0.3F;
      }
      by_factor->step(0.05, 0.3F);
      by_hand->step(0.05);
    }
    EXPECT_EQ(scaled.values(), plain.values()) << row.name;
  }
}

TEST(ScheduleTable, WarmsUpAndStaysWithinTheBaseRate) {
  int rows = 0;
  for (const auto& row : schedules()) {
    const Schedule schedule(row.name, 0.5, 40, 0.1, 0.2);
    EXPECT_EQ(schedule.phases().warmup, 4);
    EXPECT_EQ(schedule.learning_rate(0), 0.0) << row.name;
    EXPECT_DOUBLE_EQ(schedule.learning_rate(4), 0.5) << row.name;
    for (int64_t step = 0; step <= 40; ++step) {
      EXPECT_GE(schedule.learning_rate(step), 0.0) << row.name;
      EXPECT_LE(schedule.learning_rate(step), 0.5) << row.name;
    }
    ++rows;
  }
  EXPECT_EQ(rows, 4);
}

TEST(Schedule, RefusesWhatDoesNotFit) {
  EXPECT_THROW(Schedule("cosin", 1e-3, 10, 0), Error);
  EXPECT_THROW(Schedule("cosine", 1e-3, 10, 11), Error);
  EXPECT_THROW(Schedule("wsd", 1e-3, 10, 4, 7), Error);
  EXPECT_THROW(Schedule("linear", 1e-3, 0, 0), Error);
  EXPECT_THROW(Schedule("linear", -1e-3, 10, 0), Error);
  EXPECT_EQ(Schedule("wsd", 1e-3, 1, 0.03).phases().decay, 0);  // one step: all of it warm-up
}

}  // namespace
}  // namespace moxie::optim
