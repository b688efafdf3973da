#pragma once
// Log-probabilities of given tokens, without a gradient.
#include <vector>

#include "models/load.h"

namespace moxie::infer {

struct Scored {
  std::vector<double> logprobs;  // of token i given those before it; [0] is 0 and means nothing
  double loss = 0;               // mean negative log-probability over tokens 1..
  double perplexity = 0;
};

Scored score_tokens(const models::Model& model, const std::vector<int32_t>& tokens);
// f32 [tokens, vocab], for comparing with other engines; small inputs only.
Tensor all_logits(const models::Model& model, const std::vector<int32_t>& tokens);

}  // namespace moxie::infer
