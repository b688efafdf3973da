#pragma once
// Generation with per-sequence state: the prompt in one pass, then token by token. Equal to running
// the whole sequence again for each token.
#include <functional>
#include <string>
#include <vector>

#include "infer/sampler.h"
#include "infer/settling.h"
#include "models/load.h"

namespace moxie::infer {

struct GenerateOptions {
  int64_t max_tokens = 256;
  std::vector<std::string> stop;  // strings that end the text; not part of it
  SamplerOptions sampling;
  bool settles = true;  // weights move to large pages meanwhile: settling.h
};

struct Generation {
  std::vector<int32_t> tokens;  // without the one that ended it
  std::string text;
  std::string finish_reason;  // "stop", "length", "interrupted"
  int64_t prompt_tokens = 0;
  double prompt_seconds = 0, decode_seconds = 0;
};

// One conversation with a model: what it has read stays in its state.
class Session {
 public:
  explicit Session(const models::Model& model);
  // Continues after `prompt` (all tokens of the conversation so far): what agrees with the state is
  // not read again. `on_text` is called with text that is final; returning false interrupts.
  Generation generate(const std::vector<int32_t>& prompt, const GenerateOptions& options,
                      const std::function<bool(std::string_view)>& on_text = {});
  void reset();

 private:
  Tensor read(const std::vector<int32_t>& tokens, size_t from);  // hidden state of the last token
  const models::Model& model_;
  nn::SequenceState state_;
  Settling settling_;
  std::vector<int32_t> held_;  // tokens that state_ holds
};

// Greedy answers to many prompts at once: sequences of a batch share each step's products.
std::vector<Generation> generate_batch(const models::Model& model,
                                       const std::vector<std::vector<int32_t>>& prompts,
                                       const GenerateOptions& options, int64_t batch_size,
                                       const std::function<bool(int64_t done)>& on_progress = {});

}  // namespace moxie::infer
