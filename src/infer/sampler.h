#pragma once
// Picks the next token. The order of transformers and llama.cpp: repetition penalty (Keskar et al.,
// 2019: logits above 0 are divided, others multiplied), temperature, top-k, top-p, min-p, then a
// draw from a counter-based generator; temperature 0 takes the largest logit (the lower id on a
// tie).
#include <cstdint>
#include <span>
#include <vector>

#include "base/options.h"
#include "base/rng.h"

namespace moxie::infer {

struct SamplerOptions {
  double temperature = 0;
  int64_t top_k = 0;
  double top_p = 1, min_p = 0, repetition_penalty = 1;
  int64_t seed = 0;

  void visit(auto& v) {
    v("temperature", temperature, "0 is greedy; higher is more varied", range(0, 100));
    v("top_k", top_k, "keep the k most likely tokens; 0 keeps all", at_least(0));
    v("top_p", top_p, "keep the likeliest tokens that together reach this probability",
      range(0, 1));
    v("min_p", min_p, "drop tokens below this share of the likeliest one's probability",
      range(0, 1));
    v("repetition_penalty", repetition_penalty, "above 1 makes tokens that occurred less likely",
      range(0.01, 100));
    v("seed", seed, "seed of the draws", at_least(0));
  }
};

class Sampler {
 public:
  explicit Sampler(const SamplerOptions& options)
      : options_(options), rng_(static_cast<uint64_t>(options.seed)) {}
  // logits [vocab], may be changed; history: the prompt and what was generated.
  int32_t pick(std::span<float> logits, std::span<const int32_t> history);

 private:
  SamplerOptions options_;
  Rng rng_;
};

}  // namespace moxie::infer
