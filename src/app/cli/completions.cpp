#include <fmt/format.h>

#include "app/cli/reference.h"

namespace moxie::cli {
namespace {

struct CompletionsOptions {
  std::string shell;
  void visit(auto& v) {
    v("shell", shell, "whose script to print", one_of({"bash", "zsh", "fish"}));
  }
};

void run(CompletionsOptions& options, Context&) {
  fmt::print("{}", completion_script(options.shell));
}

}  // namespace

extern const Verb completions_entry;
const Verb completions_entry = {
    .group = Group::kHouse,
    .summary = "print a completion script for your shell",
    .positionals = "shell",
    .examples =
        "moxie completions bash > ~/.local/share/bash-completion/completions/moxie\n"
        "moxie completions zsh > ~/.zfunc/_moxie\n"
        "moxie completions fish > ~/.config/fish/completions/moxie.fish",
    .reads_recipe = false,
    .create = invocation<CompletionsOptions, run>};

}  // namespace moxie::cli
