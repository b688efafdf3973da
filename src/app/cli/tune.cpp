// Teach a model. Everything but words on a terminal is the recipe's work.
#include "recipes/tune.h"

#include <fmt/format.h>

#include "app/cli/progress.h"
#include "app/cli/verb.h"
#include "base/text_util.h"

namespace moxie::cli {
namespace {

void print_summary(const recipes::TuneOptions& options, const Json& summary) {
  if (const auto loss = summary.find("best_eval_loss"); loss != summary.end()) {
    fmt::print("best held-out loss {:.4f}\n", loss->get<double>());
  }
  const std::string words =
      options.method == "full" ? options.out : options.model + " --adapter " + options.out;
  fmt::print("saved {}\nreport {}/report.html\ntalk to it: moxie chat {}\n", options.out,
             options.out, words);
}

void run(recipes::TuneOptions& options, Context& context) {
  TrainProgress progress(context);
  const recipes::TuneResult result = recipes::tune(options, &progress);
  if (context.globals.json) {
    fmt::print("{}\n", result.summary.dump(2));
  } else if (options.dry_run) {
    fmt::print("{}", recipes::dry_run_text(result.summary, context.out.has_color));
  }
  if (options.dry_run) return;
  if (result.training.outcome == train::Outcome::kInterrupted) {
    fail(ErrorCode::kInterrupted, "tune",
         "stopped at step {} of {}; the same command with --resume goes on", result.training.step,
         result.training.total_steps);
  }
  if (!context.globals.json) print_summary(options, result.summary);
}

}  // namespace

extern const Verb tune_entry;
const Verb tune_entry = {.group = Group::kTrain,
                         .summary = "teach a model on your own data",
                         .positionals = "model",
                         .examples =
                             "moxie tune model.gguf --data train.jsonl --out my-adapter\n"
                             "moxie tune model.gguf --data train.jsonl --out my-adapter --dry-run\n"
                             "moxie tune recipe.yaml --lr 1e-4\n"
                             "moxie tune my-adapter/config.yaml --resume",
                         .reads_recipe = true,
                         .create = invocation<recipes::TuneOptions, run>};

}  // namespace moxie::cli
