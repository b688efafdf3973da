#include "app/cli/help.h"

#include <algorithm>
#include <cctype>

#include "app/cli/parse.h"
#include "base/text_util.h"

namespace moxie::cli {
namespace {

constexpr int kIndent = 30;

std::string upper(std::string_view text) {
  std::string shown(text);
  std::transform(shown.begin(), shown.end(), shown.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return shown;
}

std::string examples_block(const Verb& verb, const Terminal& terminal) {
  std::string text = terminal.bold("Examples") + "\n";
  for (const auto& line : split(verb.examples, '\n')) {
    if (!line.empty()) text += "  " + terminal.cyan(line) + "\n";
  }
  return text;
}

std::string entry(const std::string& left, std::string_view right, const Terminal& terminal) {
  std::string text = "  " + terminal.green(left);
  const int used = 2 + display_width(left);
  text += used + 2 > kIndent ? "\n" + std::string(kIndent, ' ')
                             : std::string(static_cast<size_t>(kIndent - used), ' ');
  return text + wrap(right, std::clamp(terminal.width, 60, 100), kIndent) + "\n";
}

std::string described(const Option& option) {
  std::string text = option.help;
  if (const auto limits = describe_limits(option); !limits.empty()) text += "; " + limits;
  if (const auto value = default_text(option); !value.empty()) text += " [" + value + "]";
  return text;
}

}  // namespace

std::string_view title_of(Group group) {
  switch (group) {
    case Group::kTrain:
      return "Teach";
    case Group::kUse:
      return "Use";
    case Group::kFiles:
      return "Models and files";
    case Group::kHouse:
      return "Moxie itself";
  }
  return "";
}

std::string default_text(const Option& option) {
  const Json value = option_value(option);
  if (value.is_boolean()) return value.get<bool>() ? "on" : "";
  if (value.is_string()) return value.get<std::string>();
  if (value.is_array()) return join(value.get<std::vector<std::string>>(), ",");
  if (value.is_object()) return value.empty() ? "" : value.dump();
  if (value.is_number_float()) return fmt::format("{}", value.get<double>());
  return value.dump();
}

std::string flag_with_value(const Option& option) {
  const Json value = option_value(option);
  if (value.is_boolean()) {
    return value.get<bool>() ? "--no-" + flag_of(option.name).substr(2) : flag_of(option.name);
  }
  return flag_of(option.name) + " " + upper(type_name(option));
}

bool is_positional(const Verb& verb, const Option& option) {
  const auto list = positionals_of(verb);
  return std::any_of(list.begin(), list.end(),
                     [&](const Positional& p) { return p.name == option.name; });
}

std::string usage_line(const Named<Verb>& verb) {
  std::string line = "moxie " + std::string(verb.name);
  for (const auto& positional : positionals_of(*verb.entry)) {
    const std::string word = upper(positional.name) + (positional.takes_rest ? "..." : "");
    line += positional.is_required ? " " + word : " [" + word + "]";
  }
  return line + " [flags]";
}

std::string overview(const Terminal& terminal) {
  std::string text = terminal.bold("moxie") + " " + std::string(version()) +
                     ": teach a language model on your own data, on the CPU you have\n\n" +
                     terminal.bold("Start") + "\n";
  for (const char* line :
       {"moxie pull HuggingFaceTB/SmolLM2-135M-Instruct",
        "moxie tune HuggingFaceTB/SmolLM2-135M-Instruct --data train.jsonl --out mine",
        "moxie chat HuggingFaceTB/SmolLM2-135M-Instruct --adapter mine"}) {
    text += "  " + terminal.cyan(line) + "\n";
  }
  for (const Group group : {Group::kTrain, Group::kUse, Group::kFiles, Group::kHouse}) {
    std::string rows;
    for (const auto& verb : verbs()) {
      if (verb->group != group) continue;
      const std::string pad(static_cast<size_t>(14 - display_width(verb.name)), ' ');
      rows += "  " + terminal.green(verb.name) + pad + std::string(verb->summary) + "\n";
    }
    if (!rows.empty()) text += "\n" + terminal.bold(title_of(group)) + "\n" + rows;
  }
  return text + "\nmoxie VERB shows examples, moxie VERB --help every flag.\n";
}

std::string short_help(const Named<Verb>& verb, const Terminal& terminal) {
  std::string text = examples_block(*verb.entry, terminal);
  text += "\n" + terminal.bold(verb.name) + ": " + std::string(verb->summary) + "\n";
  text += usage_line(verb) + "\n";
  return text + fmt::format("\nmoxie {} --help shows every flag.\n", verb.name);
}

std::string full_help(const Named<Verb>& verb, const Terminal& terminal) {
  const auto call = verb->create();
  Globals globals;
  const auto options = without_repeats(call->options());
  std::string text = usage_line(verb) + "\n" + std::string(verb->summary) + "\n\n";
  text += examples_block(*verb.entry, terminal);
  std::string arguments;
  std::string flags;
  for (const auto& option : options) {
    if (is_positional(*verb.entry, option)) {
      arguments += entry(upper(option.name), described(option), terminal);
    } else {
      flags += entry(flag_with_value(option), described(option), terminal);
    }
  }
  if (verb->reads_recipe) {
    flags += entry("--config FILE", "take values from a YAML recipe; flags override it", terminal);
  }
  if (!arguments.empty()) text += "\n" + terminal.bold("Arguments") + "\n" + arguments;
  if (!flags.empty()) text += "\n" + terminal.bold("Flags") + "\n" + flags;
  text += "\n" + terminal.bold("Flags of every verb") + "\n";
  for (const auto& option : without_repeats(all_options(*call, globals))) {
    const bool is_own = std::any_of(options.begin(), options.end(),
                                    [&](const Option& own) { return own.name == option.name; });
    if (!is_own) text += entry(flag_with_value(option), described(option), terminal);
  }
  return text +
         "\nEach flag can be set as MOXIE_<FLAG> in the environment, e.g. MOXIE_THREADS=2.\n";
}

}  // namespace moxie::cli
