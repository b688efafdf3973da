// The models that were pulled.
#include <fmt/format.h>

#include "app/cli/verb.h"
#include "base/text_util.h"
#include "io/hub.h"

namespace moxie::cli {
namespace {

void run(NoOptions&, Context& context) {
  const auto models = io::list_pulled();
  if (context.globals.json) {
    Json rows = Json::array();
    for (const auto& model : models) {
      rows.push_back({{"name", model.name},
                      {"path", model.path.string()},
                      {"bytes", model.size()},
                      {"commit", model.commit},
                      {"pulled_at", model.pulled_at}});
    }
    fmt::print("{}\n", rows.dump(2));
    return;
  }
  if (models.empty()) {
    fmt::print(stderr, "no model is pulled yet; moxie pull OWNER/NAME fetches one\n");
    return;
  }
  TextTable table{{"model", "size", "pulled", "folder"}, {}, {false, true}};
  for (const auto& model : models) {
    table.rows.push_back(
        {printable(model.name), human_bytes(model.size()), model.pulled_at, model.path.string()});
  }
  fmt::print("{}", table.render(context.out));
}

}  // namespace

extern const Verb ls_entry;
const Verb ls_entry = {.group = Group::kFiles,
                       .summary = "list the models that were pulled",
                       .positionals = "",
                       .examples = "moxie ls\nmoxie ls --json",
                       .reads_recipe = false,
                       .create = invocation<NoOptions, run>};

}  // namespace moxie::cli
