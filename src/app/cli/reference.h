#pragma once
// The verb table written out for other readers: Markdown (docs/commands.md), man pages,
// completions.
#include <string>
#include <string_view>

#include "app/cli/verb.h"

namespace moxie::cli {

std::string commands_markdown();
std::string man_page();                                 // moxie(1)
std::string man_page(const Named<Verb>& verb);          // moxie-<verb>(1)
std::string completion_script(std::string_view shell);  // bash, zsh or fish

}  // namespace moxie::cli
