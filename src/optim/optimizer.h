#pragma once
// An optimizer turns gradients into new parameter values. It walks the named list of trainable
// state in one threaded sweep; every element is updated on its own, so results do not depend on
// threads. Values, gradients and state are f32. A param without a gradient is skipped, and so is
// its step count (as torch does with grad None): bias correction counts the updates a param really
// had.
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/options.h"
#include "base/registry.h"
#include "nn/param.h"

namespace moxie::optim {

struct StateTensor {
  std::string name;  // "<param>.<state>", or "steps"
  Tensor tensor;     // shares the optimizer's memory: writing into it restores the optimizer
};

// What one update sees: `count` consecutive elements of one param.
struct Slice {
  float* value;
  const float* gradient;
  float* const* state;  // one pointer a state name, in that order
  int64_t count;
};

struct UpdateContext {
  double learning_rate;
  float gradient_factor;  // the gradient is this times what Slice says
  int64_t step;           // of this param, from 1
  bool decays;            // weight decay applies to it
};

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  virtual std::vector<Option> options() = 0;
  // The state tensors a param has, each f32 of its shape, zero at first. Reads the options.
  virtual std::vector<std::string> state_names() const = 0;

  // Takes the params that train and allocates their state; call once, after the options are set.
  void attach(const nn::ParamList& params);
  void step(double learning_rate, float gradient_factor = 1);
  // All that a checkpoint must hold: every state tensor, and "steps" (i64, one number a param).
  std::vector<StateTensor> state() const;
  const nn::ParamList& params() const { return params_; }
  int64_t state_bytes() const;

 protected:
  virtual void update(const UpdateContext& context, const Slice& slice) const = 0;

 private:
  struct Chunk {
    size_t param;
    int64_t begin, end;
  };
  nn::ParamList params_;
  std::vector<std::vector<Tensor>> state_;  // [param][state name]
  std::vector<Chunk> chunks_;
  Tensor steps_;
};

struct OptimizerDef {
  std::string_view summary;
  std::string_view source;  // where the definition comes from
  std::unique_ptr<Optimizer> (*create)();
};

Table<OptimizerDef> optimizers();

}  // namespace moxie::optim
