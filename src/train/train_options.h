#pragma once
// The options of the training loop; the optimizer's own are in its row of optim.list.
#include <cstdint>
#include <string>

#include "base/options.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"

namespace moxie::train {

struct TrainOptions {
  std::string optimizer = "adamw";
  double lr = 2e-4;
  std::string schedule = "cosine";
  double warmup = 0.03, decay = 0.1;
  double epochs = 3;
  int64_t steps = 0;
  int64_t batch_size = 8, accumulate = 1, micro_tokens = 1024;
  double clip = 1.0;
  int64_t seed = 0;
  int64_t eval_every = 0, save_every = 0, keep = 2;
  int64_t patience = 0;
  double min_delta = 0;

  void visit(auto& v) {
    v("optimizer", optimizer, "how gradients become updates",
      one_of(names_of(optim::optimizers())));
    v("lr", lr, "learning rate at its highest", range(0, 1e6));
    v("schedule", schedule, "course of the learning rate", one_of(names_of(optim::schedules())));
    v("warmup", warmup, "warm-up: a share of the run below 1, steps from 1 on", at_least(0));
    v("decay", decay, "last phase of wsd: a share of the run below 1, steps from 1 on",
      at_least(0));
    v("epochs", epochs, "passes over the data", range(1e-6, 1e6));
    v("steps", steps, "optimizer steps, instead of epochs when above 0", at_least(0));
    v("batch_size", batch_size, "samples a batch", range(1, 1 << 20));
    v("accumulate", accumulate, "batches an optimizer step", range(1, 1 << 20));
    v("micro_tokens", micro_tokens,
      "tokens that run at once; whole samples, so the result is the same", range(1, 1 << 30));
    v("clip", clip, "largest norm of the gradient; 0 for no clipping", at_least(0));
    v("seed", seed, "seed of the order of the data, of new adapters and of dropout", at_least(0));
    v("eval_every", eval_every, "steps between evaluations; 0 for each epoch's end", at_least(0));
    v("save_every", save_every, "steps between checkpoints; 0 for each epoch's end", at_least(0));
    v("keep", keep, "checkpoints kept, besides the best", range(2, 1e6));
    v("patience", patience, "evaluations without a better loss before stopping; 0 for never",
      at_least(0));
    v("min_delta", min_delta, "how much lower a better loss must be", at_least(0));
  }
};

}  // namespace moxie::train
