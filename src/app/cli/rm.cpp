// Remove pulled models.
#include <fmt/format.h>

#include "app/cli/verb.h"
#include "io/hub.h"

namespace moxie::cli {
namespace {

struct RmOptions {
  std::vector<std::string> names;
  void visit(auto& v) { v("names", names, "pulled models, as moxie ls names them"); }
};

void run(RmOptions& options, Context&) {
  for (const auto& name : options.names) {
    io::remove_pulled(name);
    fmt::print("removed {}\n", printable(name));
  }
}

}  // namespace

extern const Verb rm_entry;
const Verb rm_entry = {.group = Group::kFiles,
                       .summary = "remove pulled models",
                       .positionals = "names...",
                       .examples = "moxie rm owner/name",
                       .reads_recipe = false,
                       .create = invocation<RmOptions, run>};

}  // namespace moxie::cli
