#include "app/cli/parse.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>

#include "app/cli/builtin_recipes.h"
#include "base/text_util.h"
#include "recipes/config.h"

namespace moxie::cli {
namespace {

template <class... Args>
[[noreturn]] void usage(std::string_view where, fmt::format_string<Args...> format,
                        Args&&... args) {
  fail(ErrorCode::kInvalidArgument, where, format, std::forward<Args>(args)...);
}

bool is_recipe_name(std::string_view word) {
  return word.ends_with(".yaml") || word.ends_with(".yml");
}

class Parser {
 public:
  Parser(const Named<Verb>& verb, Invocation& call, Globals& globals)
      : verb_(verb),
        options_(all_options(call, globals)),
        positionals_(positionals_of(*verb.entry)) {}

  Outcome parse(std::span<const std::string> words) {
    collect(words);
    if (wants_help_) return Outcome::kHelp;
    place_positionals();
    if (!recipe_.empty()) apply_recipe();
    apply_environment();
    for (const auto& [name, values] : given_) apply(name, values, flag_where(name));
    return words.empty() && !missing().empty() ? Outcome::kShortHelp : check_required();
  }

 private:
  std::string flag_where(const std::string& name) const {
    return std::string(verb_.name) + " " + flag_of(name);
  }

  const Option* find(std::string_view name) const {
    const auto found = std::find_if(options_.begin(), options_.end(),
                                    [&](const Option& option) { return option.name == name; });
    return found == options_.end() ? nullptr : &*found;
  }

  static bool is_bool(const Option& option) { return std::holds_alternative<bool*>(option.value); }
  // Whether a flag that is given several times adds up, as lists and maps do; else the last counts.
  static bool gathers(const Option& option) {
    return std::holds_alternative<std::vector<std::string>*>(option.value) ||
           std::holds_alternative<std::map<std::string, double>*>(option.value);
  }

  [[noreturn]] void unknown_flag(const std::string& flag) const {
    std::vector<std::string> known = {"--help"};
    if (verb_->reads_recipe) known.emplace_back("--config");
    for (const auto& option : options_) {
      known.push_back(flag_of(option.name));
      if (is_bool(option)) known.push_back("--no-" + flag_of(option.name).substr(2));
    }
    const std::string near = closest_match(flag, known);
    usage(verb_.name, "there is no flag {}{}", flag,
          near.empty() ? fmt::format("; see moxie {} --help", verb_.name)
                       : fmt::format("; did you mean {}?", near));
  }

  void collect(std::span<const std::string> words) {
    bool only_positionals = false;
    for (size_t i = 0; i < words.size(); ++i) {
      const std::string& word = words[i];
      if (only_positionals || word == "-" || !word.starts_with('-')) {
        loose_.push_back(word);
      } else if (word == "--") {
        only_positionals = true;
      } else if (word == "-h" || word == "--help") {
        wants_help_ = true;
      } else {
        take_flag(words, i);
      }
    }
  }

  void take_flag(std::span<const std::string> words, size_t& i) {
    static const std::map<std::string_view, std::string> kShort = {
        {"-q", "--quiet"}, {"-v", "--verbose"}, {"-o", "--out"}};
    const size_t equals = words[i].find('=');
    std::string flag = words[i].substr(0, equals);
    if (const auto known = kShort.find(flag); known != kShort.end()) flag = known->second;
    if (!flag.starts_with("--") || flag.find('_') != std::string::npos) unknown_flag(words[i]);
    std::string name = flag.substr(2);
    std::replace(name.begin(), name.end(), '-', '_');
    const bool is_config = verb_->reads_recipe && name == "config";
    const Option* option = find(name);
    bool is_negated = false;
    if (option == nullptr && name.starts_with("no_")) {
      option = find(name.substr(3));
      is_negated = option != nullptr && is_bool(*option);
      if (!is_negated) option = nullptr;
    }
    if (option == nullptr && !is_config) unknown_flag(flag);
    std::string value;
    if (is_negated) {
      if (equals != std::string::npos) usage(verb_.name, "{} takes no value", flag);
      value = "false";
    } else if (equals != std::string::npos) {
      value = words[i].substr(equals + 1);
    } else if (!is_config && is_bool(*option)) {
      value = "true";
    } else if (i + 1 < words.size()) {
      value = words[++i];
    } else {
      usage(verb_.name, "{} needs a value; write {} VALUE", flag, flag);
    }
    if (is_config) {
      recipe_ = value;
    } else {
      given_[option->name].push_back(value);
    }
  }

  void place_positionals() {
    if (verb_->reads_recipe && recipe_.empty() && !loose_.empty() && is_recipe_name(loose_[0])) {
      recipe_ = loose_[0];
      loose_.erase(loose_.begin());
    }
    size_t next = 0;
    for (const auto& positional : positionals_) {
      while (next < loose_.size()) {
        if (!positional.takes_rest && given_.contains(positional.name)) break;
        given_[positional.name].push_back(loose_[next++]);
        if (!positional.takes_rest) break;
      }
    }
    if (next < loose_.size()) {
      usage(verb_.name, "'{}' is one word too many; see moxie {} --help", loose_[next], verb_.name);
    }
  }

  void apply_recipe() {
    const auto text = read_recipe(recipe_);
    if (!text) {
      usage(verb_.name, "there is no recipe '{}'{}", recipe_, suggestion(recipe_, recipe_names()));
    }
    recipes::apply_config(*text, recipe_, verb_.name, options_);
  }

  void apply_environment() {
    for (const auto& option : options_) {
      const std::string name = environment_name(option.name);
      const char* text = std::getenv(name.c_str());
      if (text == nullptr || *text == 0) continue;
      apply(option.name, {text}, name);
    }
  }

  void apply(const std::string& name, const std::vector<std::string>& values,
             const std::string& where) {
    for (const auto& option : options_) {  // methods may share a name: it stands for all of them
      if (option.name != name) continue;
      set_option_from_text(option, gathers(option) ? join(values, ",") : values.back(), where);
    }
  }

  std::vector<std::string> missing() const {
    std::vector<std::string> names;
    for (const auto& positional : positionals_) {
      if (!positional.is_required) continue;
      const Json value = option_value(*find(positional.name));
      if (value.empty() || value == "") names.push_back(positional.name);
    }
    return names;
  }

  Outcome check_required() const {
    const auto names = missing();
    if (names.empty()) return Outcome::kRun;
    std::string word = names[0];
    std::transform(word.begin(), word.end(), word.begin(),
                   [](unsigned char c) { return std::toupper(c); });
    usage(verb_.name, "{} is missing: {}; see moxie {} --help", word, find(names[0])->help,
          verb_.name);
  }

  const Named<Verb>& verb_;
  std::vector<Option> options_;
  std::vector<Positional> positionals_;
  std::vector<std::string> loose_;
  std::map<std::string, std::vector<std::string>> given_;
  std::string recipe_;
  bool wants_help_ = false;
};

}  // namespace

std::vector<Option> without_repeats(std::vector<Option> options) {
  std::set<std::string> seen;
  std::erase_if(options, [&](const Option& option) { return !seen.insert(option.name).second; });
  return options;
}

std::vector<Option> all_options(Invocation& call, Globals& globals) {
  std::vector<Option> options = call.options();
  for (auto& option : list_options(globals)) {
    const bool is_own = std::any_of(options.begin(), options.end(),
                                    [&](const Option& own) { return own.name == option.name; });
    if (!is_own) options.push_back(std::move(option));
  }
  return options;
}

Outcome parse(const Named<Verb>& verb, Invocation& call, Globals& globals,
              std::span<const std::string> words) {
  return Parser(verb, call, globals).parse(words);
}

}  // namespace moxie::cli
