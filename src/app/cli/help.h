#pragma once
// What the binary says about itself, all of it read from the verb table.
#include <string>

#include "app/cli/verb.h"

namespace moxie::cli {

std::string overview(const Terminal& terminal);                             // `moxie`
std::string short_help(const Named<Verb>& verb, const Terminal& terminal);  // a bare verb
std::string full_help(const Named<Verb>& verb, const Terminal& terminal);   // --help

std::string usage_line(const Named<Verb>& verb);  // "moxie tune MODEL [flags]"
std::string_view title_of(Group group);
// "8", "auto", "" for empty defaults.
std::string default_text(const Option& option);
// "--lr FLOAT", "--[no-]shuffle"
std::string flag_with_value(const Option& option);
bool is_positional(const Verb& verb, const Option& option);

}  // namespace moxie::cli
