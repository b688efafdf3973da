#pragma once
// Trainable state is a named list: checkpoints, optimizers, adapter files and parameter counts all
// walk it. A Param's name is stable, its owner says which file it belongs to.
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace moxie::nn {

enum class Owner { kBase, kAdapter, kRouter, kHead };

struct Param {
  std::string name;  // "layers.3.attn.q.weight", "layers.3.attn.q.lora_a"
  Owner owner = Owner::kBase;
  std::string group = "default";  // optimizer group
  Tensor value;                   // f32 (f64 in tests)
  uint64_t changes = 0;           // counts writes into value: what was made of it is made again
  Tensor gradient;                // same shape; empty until the first backward
  bool is_blank = false;          // gradient is zero, but its memory was not written yet
  bool is_trainable = true;
  bool decays = true;  // weight decay applies
};

using ParamList = std::vector<Param*>;

// The value as the active tape sees it: recorded into `gradient` when it trains, plain otherwise.
Tensor use(Param& param);
// Gradients become zero. What is added first is written instead, so that nobody passes over their
// memory for that; settle_gradients() writes the zeros of those that got nothing.
void zero_gradients(const ParamList& params);
void settle_gradients(const ParamList& params);
int64_t count_elements(const ParamList& params);

}  // namespace moxie::nn
