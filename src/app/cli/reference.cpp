#include "app/cli/reference.h"

#include <algorithm>
#include <cctype>

#include "app/cli/help.h"
#include "app/cli/parse.h"
#include "base/text_util.h"

namespace moxie::cli {
namespace {

constexpr Group kGroups[] = {Group::kTrain, Group::kUse, Group::kFiles, Group::kHouse};

std::string anchor(std::string_view verb) {
  return "moxie-" + std::string(verb);
}

// Table cells may not hold a bar or a newline; angle brackets would be read as HTML.
std::string cell(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '|') {
      escaped += "\\|";
    } else if (c == '<') {
      escaped += "&lt;";
    } else {
      escaped += c == '\n' ? ' ' : c;
    }
  }
  return escaped;
}

std::string option_row(const Option& option, const std::string& name) {
  std::string limits = describe_limits(option);
  std::string value = default_text(option);
  if (value == "on")
    value = "on, `--no-" + flag_of(option.name).substr(2) + "` turns it off";
  else if (!value.empty())
    value = "`" + value + "`";
  return fmt::format("| {} | {} | {} | {} | {} |\n", name, type_name(option), cell(value),
                     cell(limits), cell(option.help));
}

std::string markdown(const Named<Verb>& verb) {
  const auto call = verb->create();
  std::string text =
      fmt::format("## {}\n\n{}.\n\n```\n{}\n```\n\n```sh\n{}\n```\n", anchor(verb.name),
                  verb->summary, usage_line(verb), verb->examples);
  text.replace(text.find(anchor(verb.name)), anchor(verb.name).size(),
               "moxie " + std::string(verb.name));
  const auto options = without_repeats(call->options());
  if (options.empty()) return text + "\n";
  text += "\n| option | kind | default | limits | what it is |\n|---|---|---|---|---|\n";
  for (const auto& option : options) {
    const std::string flag = "`" + flag_of(option.name) + "`";
    text += option_row(option, is_positional(*verb.entry, option) ? flag + " or by place" : flag);
  }
  return text + "\n";
}

// Text in a man page: a leading dot or quote would be a request, a backslash an escape.
std::string roff(std::string_view text) {
  std::string escaped;
  bool at_start = true;
  for (const char c : text) {
    if (at_start && (c == '.' || c == '\'')) escaped += "\\&";
    if (c == '\\') {
      escaped += "\\e";
    } else if (c == '-') {
      escaped += "\\-";
    } else {
      escaped += c;
    }
    at_start = c == '\n';
  }
  return escaped;
}

std::string roff_options(const std::vector<Option>& options) {
  std::string text;
  for (const auto& option : options) {
    text += ".TP\n.B " + roff(flag_with_value(option)) + "\n" + roff(option.help);
    if (const auto limits = describe_limits(option); !limits.empty()) text += "; " + roff(limits);
    if (const auto value = default_text(option); !value.empty()) {
      text += " (default: " + roff(value) + ")";
    }
    text += ".\n";
  }
  return text;
}

std::string roff_head(std::string_view page, std::string_view summary) {
  std::string title(page);
  std::transform(title.begin(), title.end(), title.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return fmt::format(".TH {} 1 \"\" \"moxie {}\" \"Moxie\"\n.SH NAME\n{} \\- {}\n", roff(title),
                     version(), roff(page), roff(summary));
}

}  // namespace

std::string commands_markdown() {
  Globals globals;
  std::string text =
      "# Commands\n\n<!-- Written by `moxie man --markdown`; do not edit. -->\n\n"
      "Every flag has an environment variable, `MOXIE_` and the flag in capitals "
      "(`--batch-size` is `MOXIE_BATCH_SIZE`). A flag beats its variable, the variable beats the "
      "recipe, the recipe beats the default. A list is separated by commas, or its flag is given "
      "several times; a map is written NAME=NUMBER,... or as a JSON object. Results go to standard "
      "output, everything else to standard error. Exit codes: 0 done, 1 failed, 2 the command was "
      "wrong, 130 interrupted.\n\n";
  for (const Group group : kGroups) {
    std::string rows;
    for (const auto& verb : verbs()) {
      if (verb->group == group) {
        rows += fmt::format("- [{}](#{}): {}\n", verb.name, anchor(verb.name), verb->summary);
      }
    }
    if (!rows.empty()) text += fmt::format("**{}**\n\n{}\n", title_of(group), rows);
  }
  text +=
      "## Flags of every verb\n\n| option | kind | default | limits | what it is |\n"
      "|---|---|---|---|---|\n";
  for (const auto& option : list_options(globals)) {
    text += option_row(option, "`" + flag_of(option.name) + "`");
  }
  text += "\n";
  for (const Group group : kGroups) {
    for (const auto& verb : verbs()) {
      if (verb->group == group) text += markdown(verb);
    }
  }
  text.pop_back();
  return text;
}

std::string man_page() {
  Globals globals;
  std::string text =
      roff_head("moxie", "teach a language model on your own data, on the CPU you have");
  text += ".SH SYNOPSIS\n.B moxie\n.I VERB\n[arguments] [flags]\n.SH VERBS\n";
  for (const auto& verb : verbs()) {
    text += fmt::format(".TP\n.B {}\n{}; see\n.BR moxie\\-{} (1).\n", verb.name,
                        roff(verb->summary), verb.name);
  }
  text += ".SH FLAGS OF EVERY VERB\n" + roff_options(list_options(globals));
  text +=
      ".SH ENVIRONMENT\nEach flag can be set as MOXIE_<FLAG>; the flag wins. NO_COLOR turns colour "
      "off.\n.SH EXIT STATUS\n0 done, 1 failed, 2 the command was wrong, 130 interrupted.\n";
  return text;
}

std::string man_page(const Named<Verb>& verb) {
  const auto call = verb->create();
  std::string text = roff_head("moxie-" + std::string(verb.name), verb->summary);
  text += ".SH SYNOPSIS\n" + roff(usage_line(verb)) + "\n.SH EXAMPLES\n.nf\n" +
          roff(verb->examples) + "\n.fi\n";
  const auto options = without_repeats(call->options());
  if (!options.empty()) text += ".SH OPTIONS\n" + roff_options(options);
  return text + ".SH SEE ALSO\n.BR moxie (1)\n";
}

}  // namespace moxie::cli
