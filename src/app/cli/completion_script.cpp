// Completion scripts are static text made from the tables: pressing Tab does not start the binary.
#include <fmt/format.h>

#include <algorithm>

#include "app/cli/parse.h"
#include "app/cli/reference.h"
#include "base/text_util.h"

namespace moxie::cli {
namespace {

// Within single quotes of a shell.
std::string shell_quoted(std::string_view text) {
  std::string escaped = "'";
  for (const char c : text) escaped += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return escaped + "'";
}

std::vector<std::string> choices_of_first(const Named<Verb>& verb,
                                          const std::vector<Option>& options) {
  const auto positionals = positionals_of(*verb.entry);
  if (positionals.empty()) return {};
  const auto found = std::find_if(options.begin(), options.end(), [&](const Option& option) {
    return option.name == positionals[0].name;
  });
  return found->limits.choices;
}

std::string bash_script() {
  std::string text =
      "_moxie() {\n"
      "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} "
      "verb=${COMP_WORDS[1]}\n"
      "  COMPREPLY=()\n"
      "  if [[ $COMP_CWORD -eq 1 ]]; then\n"
      "    COMPREPLY=($(compgen -W " +
      shell_quoted(join(names_of(verbs()), " ")) +
      " -- \"$cur\"))\n"
      "    return\n  fi\n"
      "  case \"$verb $prev\" in\n";
  std::string flags = "  case $verb in\n";
  for (const auto& verb : verbs()) {
    const auto call = verb->create();
    Globals globals;
    const auto options = without_repeats(all_options(*call, globals));
    std::vector<std::string> words = {"--help"};
    if (verb->reads_recipe) words.emplace_back("--config");
    for (const auto& option : options) {
      words.push_back(flag_of(option.name));
      if (option.limits.choices.empty()) continue;
      text += fmt::format("    '{} {}') COMPREPLY=($(compgen -W {} -- \"$cur\")); return ;;\n",
                          verb.name, flag_of(option.name),
                          shell_quoted(join(option.limits.choices, " ")));
    }
    const auto first = choices_of_first(verb, options);
    if (!first.empty()) {
      text += fmt::format("    '{} {}') COMPREPLY=($(compgen -W {} -- \"$cur\")); return ;;\n",
                          verb.name, verb.name, shell_quoted(join(first, " ")));
    }
    flags += fmt::format("    {}) words={} ;;\n", verb.name, shell_quoted(join(words, " ")));
  }
  return text + "  esac\n  local words=''\n" + flags +
         "  esac\n"
         "  if [[ $cur == -* ]]; then COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
         "  else COMPREPLY=($(compgen -f -- \"$cur\")); fi\n}\n"
         "complete -o filenames -F _moxie moxie\n";
}

// A spec of _arguments: colons and brackets separate its parts.
std::string zsh_spec(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == ':' || c == '[' || c == ']') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

std::string zsh_script() {
  std::string text = "#compdef moxie\n_moxie() {\n  local -a verbs\n  verbs=(\n";
  for (const auto& verb : verbs()) {
    text += "    " + shell_quoted(fmt::format("{}:{}", verb.name, zsh_spec(verb->summary))) + "\n";
  }
  text +=
      "  )\n  if (( CURRENT == 2 )); then _describe verb verbs; return; fi\n"
      "  local verb=$words[2]\n  shift words; (( CURRENT-- ))\n  case $verb in\n";
  for (const auto& verb : verbs()) {
    const auto call = verb->create();
    Globals globals;
    const auto options = without_repeats(all_options(*call, globals));
    text += fmt::format("    {}) _arguments", verb.name);
    for (const auto& option : options) {
      std::string spec = flag_of(option.name) + "[" + zsh_spec(option.help) + "]";
      if (!option.limits.choices.empty()) {
        spec += ":value:(" + join(option.limits.choices, " ") + ")";
      } else if (!std::holds_alternative<bool*>(option.value)) {
        spec += ":" + type_name(option) + ":_files";
      }
      text += " \\\n      " + shell_quoted(spec);
    }
    const auto first = choices_of_first(verb, options);
    if (!first.empty()) text += " \\\n      " + shell_quoted("1:word:(" + join(first, " ") + ")");
    text += " \\\n      '*:file:_files' ;;\n";
  }
  // Found through fpath it is the completion itself; sourced, it registers one.
  return text +
         "  esac\n}\n"
         "if [ \"$funcstack[1]\" = \"_moxie\" ]; then _moxie \"$@\"; else compdef _moxie moxie; "
         "fi\n";
}

std::string fish_script() {
  std::string text = "complete -c moxie -n __fish_use_subcommand -f\n";
  for (const auto& verb : verbs()) {
    text += fmt::format("complete -c moxie -n __fish_use_subcommand -a {} -d {}\n", verb.name,
                        shell_quoted(verb->summary));
    const auto call = verb->create();
    Globals globals;
    const auto options = without_repeats(all_options(*call, globals));
    const std::string seen =
        fmt::format("complete -c moxie -n '__fish_seen_subcommand_from {}'", verb.name);
    const auto first = choices_of_first(verb, options);
    if (!first.empty()) text += fmt::format("{} -f -a {}\n", seen, shell_quoted(join(first, " ")));
    for (const auto& option : options) {
      const bool is_flag = std::holds_alternative<bool*>(option.value);
      const auto& choices = option.limits.choices;
      text += fmt::format("{} -l {}{}{} -d {}\n", seen, flag_of(option.name).substr(2),
                          is_flag ? "" : " -r",
                          choices.empty() ? "" : " -f -a " + shell_quoted(join(choices, " ")),
                          shell_quoted(option.help));
    }
  }
  return text;
}

}  // namespace

std::string completion_script(std::string_view shell) {
  if (shell == "bash") return bash_script();
  if (shell == "zsh") return zsh_script();
  return fish_script();
}

}  // namespace moxie::cli
