#include <fmt/format.h>

#include "app/cli/verb.h"
#include "base/cpu.h"

namespace moxie::cli {
namespace {

void run(NoOptions&, Context& context) {
  if (context.globals.json) {
    fmt::print("{}\n", Json{{"version", version()}, {"isa", to_string(active_isa())}}.dump(2));
  } else {
    fmt::print("moxie {}\n", version());
  }
}

}  // namespace

extern const Verb version_entry;
const Verb version_entry = {.group = Group::kHouse,
                            .summary = "print the version",
                            .positionals = "",
                            .examples = "moxie version --json",
                            .reads_recipe = false,
                            .create = invocation<NoOptions, run>};

}  // namespace moxie::cli
