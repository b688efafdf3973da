#include <fmt/format.h>

#include "app/cli/reference.h"

namespace moxie::cli {
namespace {

struct ManOptions {
  std::string page;
  bool markdown = false;
  void visit(auto& v) {
    v("page", page, "a verb; the page of moxie itself without one");
    v("markdown", markdown, "print the reference of all verbs as Markdown instead");
  }
};

void run(ManOptions& options, Context&) {
  if (options.markdown) {
    fmt::print("{}", commands_markdown());
  } else if (options.page.empty()) {
    fmt::print("{}", man_page());
  } else {
    fmt::print("{}", man_page(require_row(verbs(), "verb", options.page)));
  }
}

}  // namespace

extern const Verb man_entry;
const Verb man_entry = {
    .group = Group::kHouse,
    .summary = "print a man page (roff), or all of them as Markdown",
    .positionals = "[page]",
    .examples = "moxie man tune | man -l -\nmoxie man --markdown > docs/commands.md",
    .reads_recipe = false,
    .create = invocation<ManOptions, run>};

}  // namespace moxie::cli
