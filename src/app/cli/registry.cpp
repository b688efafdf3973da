#include <algorithm>
#include <cctype>

#include "app/cli/verb.h"
#include "base/text_util.h"

namespace moxie::cli {

#define ENTRY(name) extern const Verb name##_entry;
#include "app/cli/cli.list"
#undef ENTRY

Table<Verb> verbs() {
  static constexpr Named<Verb> kTable[] = {
#define ENTRY(name) {#name, &name##_entry},
#include "app/cli/cli.list"
#undef ENTRY
  };
  return kTable;
}

std::vector<Positional> positionals_of(const Verb& verb) {
  std::vector<Positional> found;
  for (std::string word : split(verb.positionals, ' ')) {
    if (word.empty()) continue;
    Positional positional;
    if (word.front() == '[') {
      positional.is_required = false;
      word = word.substr(1, word.size() - 2);
    }
    if (word.ends_with("...")) {
      positional.takes_rest = true;
      word.resize(word.size() - 3);
    }
    positional.name = word;
    found.push_back(positional);
  }
  return found;
}

std::string flag_of(std::string_view option_name) {
  std::string flag = "--" + std::string(option_name);
  std::replace(flag.begin(), flag.end(), '_', '-');
  return flag;
}

std::string environment_name(std::string_view option_name) {
  std::string name = "MOXIE_" + std::string(option_name);
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return name;
}

std::string_view version() {
  return MOXIE_VERSION;
}

}  // namespace moxie::cli
