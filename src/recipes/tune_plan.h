#pragma once
// What a run of `tune` will take, before it starts: trainable parameters by site, peak memory,
// time.
#include <functional>

#include "base/json.h"
#include "nn/decoder.h"
#include "nn/param.h"

namespace moxie::recipes {

struct MemoryPlan {
  uint64_t weights = 0;      // the model in the bytes of its file, and what reading it rearranged
  uint64_t training = 0;     // values, gradients and optimizer state of what trains
  uint64_t activations = 0;  // of one micro-batch, forward and backward
  uint64_t base = 0;         // the process itself, tokenizer, data
  uint64_t total() const { return weights + training + activations + base; }
};

struct MemoryInputs {
  int64_t micro_tokens = 0;   // the longest micro-batch
  int64_t learnt_share = 0;   // labelled rows in it
  int64_t state_tensors = 2;  // of the optimizer, a param
  bool recomputes = false;
  bool trains_base = false;
};

MemoryPlan plan_memory(nn::Decoder& decoder, const nn::ParamList& params,
                       const MemoryInputs& inputs);
Json to_json(const MemoryPlan& plan);

// Trainable elements by site, in order.
std::vector<std::pair<std::string, int64_t>> elements_by_site(const nn::ParamList& params);

}  // namespace moxie::recipes
