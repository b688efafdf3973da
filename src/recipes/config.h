#pragma once
// Recipes as YAML: one flat map from option names to values, and an optional key `verb`.
//   verb: tune
//   model: SmolLM2-135M-Instruct
//   lr: 2e-4
// What is read is typed by the options, not guessed from the text; an unknown key is an error with
// the nearest name; errors carry file:line.
#include <string>
#include <string_view>
#include <vector>

#include "base/options.h"

namespace moxie::recipes {

// Sets the options that `text` names. `where` is its file name; a `verb` other than the given one
// is an error. Throws kInvalidArgument or kCorruptData.
void apply_config(std::string_view text, std::string_view where, std::string_view verb,
                  const std::vector<Option>& options);
// The value of `verb`, "tune" without one.
std::string verb_of_config(std::string_view text, std::string_view where);
// All options in full: apply_config() of the result gives the same values.
std::string config_to_yaml(std::string_view verb, const std::vector<Option>& options);

}  // namespace moxie::recipes
