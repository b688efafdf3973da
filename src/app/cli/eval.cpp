// How well a model does on a file of examples.
#include <fmt/format.h>

#include "app/cli/progress.h"
#include "app/cli/verb.h"
#include "base/text_util.h"
#include "recipes/evaluate.h"
#include "train/stop_signal.h"

namespace moxie::cli {
namespace {

void run(recipes::EvalOptions& options, Context& context) {
  const train::StopSignal stop;
  CountProgress progress(context, "examples");
  const recipes::EvalResult result = recipes::evaluate(options, [&](int64_t done, int64_t total) {
    progress.update(static_cast<uint64_t>(done), static_cast<uint64_t>(total));
    return !train::StopSignal::requested();
  });
  progress.clear();
  if (train::StopSignal::requested())
    fail(ErrorCode::kInterrupted, "eval", "stopped before the end");
  if (context.globals.json) {
    fmt::print("{}\n", recipes::to_json(result).dump(2));
  } else if (result.metric == "exact_match") {
    fmt::print("exact match {:.1f}% ({} of {})\n", 100 * result.value, result.matches,
               result.examples);
  } else {
    fmt::print("{} {:.5g} over {} tokens of {} examples\n", result.metric, result.value,
               result.tokens, result.examples);
  }
}

}  // namespace

extern const Verb eval_entry;
const Verb eval_entry = {
    .group = Group::kTrain,
    .summary = "measure a model on examples: exact match, loss, perplexity",
    .positionals = "model",
    .examples =
        "moxie eval model.gguf --adapter my-adapter --data heldout.jsonl\n"
        "moxie eval model.gguf --data text.jsonl --metric perplexity --json\n"
        "moxie eval model.gguf --data heldout.jsonl --predictions answers.jsonl",
    .reads_recipe = true,
    .create = invocation<recipes::EvalOptions, run>};

}  // namespace moxie::cli
