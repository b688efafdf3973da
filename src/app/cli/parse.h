#pragma once
// From words, environment and recipe to filled options. A flag beats its environment variable
// (MOXIE_<FLAG>), which beats the recipe, which beats the default. Every unknown word is an error
// with the nearest known one.
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "app/cli/verb.h"

namespace moxie::cli {

enum class Outcome { kRun, kShortHelp, kHelp };

// Fills the options of `call` and the globals from the words after the verb. kShortHelp: nothing
// was given and something is required. Throws kInvalidArgument.
Outcome parse(const Named<Verb>& verb, Invocation& call, Globals& globals,
              std::span<const std::string> words);

// Of options that share a name, the first: what is shown to people.
std::vector<Option> without_repeats(std::vector<Option> options);
// The verb's options followed by the global ones it does not define itself.
std::vector<Option> all_options(Invocation& call, Globals& globals);

}  // namespace moxie::cli
