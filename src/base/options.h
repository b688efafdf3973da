#pragma once
// Options are one struct with one visitor; JSON and YAML keys, CLI flags, help and docs come from
// it:
//
//   struct LoraOptions {
//     int64_t rank = 16;
//     void visit(auto& v) { v("rank", rank, "adapter width", range(1, 1024)); }
//   };
//
// Kinds of value: bool, int64_t, double, std::string, std::vector<std::string>,
// std::map<std::string, double>. Limits: range(lo, hi) inclusive, one_of({...}), or none.
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/json.h"

namespace moxie {

struct Limits {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  std::vector<std::string> choices;
};
Limits range(double low, double high);
Limits at_least(double low);
Limits one_of(std::vector<std::string> choices);

using OptionRef = std::variant<bool*, int64_t*, double*, std::string*, std::vector<std::string>*,
                               std::map<std::string, double>*>;

struct Option {
  std::string name;  // snake_case; the flag is --name with dashes
  OptionRef value;   // points into the struct that was visited
  std::string help;
  Limits limits;
};

// The options of `options` in order. The struct must outlive the list.
template <class T>
std::vector<Option> list_options(T& options) {
  std::vector<Option> list;
  auto visitor = [&list](std::string_view name, auto& value, std::string_view help,
                         const Limits& limits = {}) {
    list.push_back({std::string(name), &value, std::string(help), limits});
  };
  options.visit(visitor);
  return list;
}

Json option_value(const Option& option);
// Sets one option from JSON; throws kInvalidArgument that names the key, the value and the limits.
void set_option(const Option& option, const Json& value, std::string_view where);
// Sets one option from the text of a flag or an environment variable.
void set_option_from_text(const Option& option, std::string_view text, std::string_view where);
// Sets all keys of an object; an unknown key is an error with the nearest name.
void set_options(const std::vector<Option>& options, const Json& object, std::string_view where);
Json options_to_json(const std::vector<Option>& options);
std::string describe_limits(const Option& option);  // "1 to 1024", "one of a, b", "" without any
std::string type_name(const Option& option);        // "int", "float", "bool", "text", "list", "map"

}  // namespace moxie
