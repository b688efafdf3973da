// Models and adapters in other layouts: the recipe of src/recipes/export.h.
#include "recipes/export.h"

#include <fmt/format.h>

#include "app/cli/verb.h"

namespace moxie::cli {
namespace {

void run(recipes::ExportOptions& options, Context& context) {
  const Json written = recipes::export_model(options);
  if (context.globals.json) {
    fmt::print("{}\n", written.dump());
  } else {
    fmt::print("wrote {}\n", options.out);
  }
}

}  // namespace

extern const Verb export_entry;
const Verb export_entry = {
    .group = Group::kFiles,
    .summary = "write a model or an adapter in another layout",
    .positionals = "model",
    .examples =
        "moxie export model.gguf --to hf --out folder\n"
        "moxie export folder --to gguf --quant q8_0 --out model.gguf\n"
        "moxie export model.gguf --adapter lamp --merge --to gguf --quant q8_0 --out lamp.gguf\n"
        "moxie export model.gguf --adapter lamp --to gguf-adapter --out lamp-lora.gguf",
    .reads_recipe = false,
    .create = invocation<recipes::ExportOptions, run>};

}  // namespace moxie::cli
