#pragma once
// Everything besides weights that a run needs to go on as if nothing had happened, and the folder
// it is kept in: params.safetensors, optimizer.safetensors, state.json, and gradients.safetensors
// when the run was left in the middle of an accumulation.
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "base/rng.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"

namespace moxie::train {

// Facts that must be the same when a run goes on: "learning rate" -> "0.0002".
using Facts = std::map<std::string, std::string>;

// Where the run stands inside an optimizer step.
struct Accumulation {
  int64_t micro_batches = 0;  // done
  double loss = 0;            // their summed loss
  int64_t tokens = 0;         // that they ran
};

struct RunState {
  int64_t step = 0;  // optimizer steps done
  int64_t epoch = 0;
  int64_t batch_cursor = 0;  // samples of the epoch taken before this step
  std::string order_digest;  // of the epoch's order
  Accumulation accumulation;
  Rng rng;  // of dropout: one draw a micro-batch
  int64_t tokens_seen = 0;
  std::optional<double> last_loss;
  int64_t last_eval_step = 0;
  std::optional<double> best_loss;
  std::optional<int64_t> best_step;
  int64_t evals_without_gain = 0;
  bool has_stopped_early = false;
};

// Writes the state into a new, empty folder. `schedule` is recorded with it.
void save_run(const std::filesystem::path& folder, const RunState& state, const Facts& facts,
              const optim::Phases& schedule, const optim::Optimizer& optimizer);
// Reads it back into the optimizer's params, their gradients and the optimizer's state. Throws
// kInvalidArgument for the first fact that differs, kCorruptData when the tensors are not those of
// this run; nothing is changed then.
RunState load_run(const std::filesystem::path& folder, const Facts& facts,
                  const optim::Optimizer& optimizer);
// Only the values of the params.
void load_params(const std::filesystem::path& folder, const nn::ParamList& params);

}  // namespace moxie::train
