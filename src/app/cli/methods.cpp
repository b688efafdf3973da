// What the tables hold. Every listing is read from its registry; this file only says which there
// are.
#include <fmt/format.h>

#include "app/cli/catalogue.h"
#include "app/cli/verb.h"

namespace moxie::cli {
namespace {

struct MethodsOptions {
  std::string kind;
  void visit(auto& v) { v("kind", kind, "one table only; all without it"); }
};

void run(MethodsOptions& options, Context& context) {
  std::vector<std::string> kinds;
  Json found = Json::object();
  for (const auto& table : catalogue()) {
    kinds.push_back(table.kind);
    if (!options.kind.empty() && options.kind != table.kind) continue;
    for (const auto& row : table.rows) {
      found[table.kind].push_back({{"name", row.name}, {"summary", row.summary}});
    }
  }
  if (found.empty()) {
    fail(ErrorCode::kInvalidArgument, "methods", "there is no table '{}'{}", options.kind,
         suggestion(options.kind, kinds));
  }
  if (context.globals.json) {
    fmt::print("{}\n", found.dump(2));
    return;
  }
  bool is_first = true;
  for (const auto& [kind, rows] : found.items()) {
    if (!is_first) fmt::print("\n");
    is_first = false;
    fmt::print("{}\n", context.out.bold(kind));
    TextTable table{{"", ""}, {}, {}};
    for (const auto& row : rows) {
      table.rows.push_back({"  " + context.out.green(row["name"].get<std::string>()),
                            row["summary"].get<std::string>()});
    }
    fmt::print("{}", table.render(context.out));
  }
}

}  // namespace

extern const Verb methods_entry;
const Verb methods_entry = {.group = Group::kHouse,
                            .summary = "list what is built in: methods, architectures, formats",
                            .positionals = "[kind]",
                            .examples = "moxie methods\nmoxie methods formats --json",
                            .reads_recipe = false,
                            .create = invocation<MethodsOptions, run>};

}  // namespace moxie::cli
