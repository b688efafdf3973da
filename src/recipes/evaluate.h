#pragma once
// The recipe `eval`: how well a model, with or without an adapter, does on a file of examples.
//   exact_match: greedy answers that equal the expected ones, white space at the ends aside
//   loss, perplexity: over the learnt tokens of all examples
#include <functional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/options.h"

namespace moxie::recipes {

struct EvalOptions {
  std::string model, adapter, data, metric = "exact_match", predictions, format, dtype = "auto";
  int64_t max_tokens = 128, max_length = 0, batch_size = 16, limit = 0;

  void visit(auto& v) {
    v("model", model, "a GGUF file, a Hugging Face folder, or a pulled name");
    v("data", data, "file of examples");
    v("adapter", adapter, "PEFT folder to attach");
    v("metric", metric, "what is measured", one_of({"exact_match", "loss", "perplexity"}));
    v("predictions", predictions, "write a line an example here (exact_match)");
    v("format", format, "shape of the data; detected when empty");
    v("dtype", dtype,
      "what products compute in; auto is int8 on quantised weights (prompts in bf16 where there "
      "is AMX) and the CPU's fastest elsewhere; f32 is exact",
      one_of({"auto", "f32", "bf16", "int8", "int16"}));
    v("max_tokens", max_tokens, "longest answer", range(1, 1 << 20));
    v("max_length", max_length, "tokens kept of an example for the loss; 0 keeps all", at_least(0));
    v("batch_size", batch_size, "sequences that run at once", range(1, 4096));
    v("limit", limit, "only the first so many examples; 0 takes all", at_least(0));
  }
};

struct Prediction {
  std::string prompt, expected, answer;
  bool is_match = false;
};

struct EvalResult {
  std::string metric;
  double value = 0;  // a share for exact_match
  int64_t examples = 0, matches = 0, tokens = 0;
  double seconds = 0;
  std::vector<Prediction> predictions;  // exact_match only
};
Json to_json(const EvalResult& result);

// `progress` (may be empty) hears of examples done and their number; returning false interrupts.
EvalResult evaluate(const EvalOptions& options,
                    const std::function<bool(int64_t, int64_t)>& progress = {});

}  // namespace moxie::recipes
