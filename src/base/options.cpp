#include "base/options.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/error.h"
#include "base/text_util.h"

namespace moxie {
namespace {

void check_number(const Option& option, double value, std::string_view where) {
  if (std::isnan(value) || value < option.limits.low || value > option.limits.high) {
    fail(ErrorCode::kInvalidArgument, where, "{} = {} is out of range; choose {}", option.name,
         value, describe_limits(option));
  }
}

void check_choice(const Option& option, const std::string& value, std::string_view where) {
  const auto& choices = option.limits.choices;
  if (choices.empty() || std::find(choices.begin(), choices.end(), value) != choices.end()) return;
  fail(ErrorCode::kInvalidArgument, where, "{} = '{}' is not known{}", option.name, value,
       suggestion(value, choices));
}

std::string kind_of(const Option& option) {  // "an int", "a map": the article goes with the name
  const std::string name = type_name(option);
  return (name == "int" ? "an " : "a ") + name;
}

[[noreturn]] void wrong_type(const Option& option, const Json& value, std::string_view where) {
  fail(ErrorCode::kInvalidArgument, where, "{} must be {}, but is {}", option.name, kind_of(option),
       value.dump());
}

template <class T>
T parse_number(const Option& option, std::string_view text, std::string_view where) {
  T value{};
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (status != std::errc() || end != text.data() + text.size()) {
    fail(ErrorCode::kInvalidArgument, where, "{} must be {}, but is '{}'", option.name,
         kind_of(option), text);
  }
  return value;
}

// "q_proj=8,v_proj=4", or the same as a JSON object.
Json parse_map(const Option& option, std::string_view text, std::string_view where) {
  if (text.starts_with('{')) {
    try {
      return parse_json(text, where);
    } catch (const Error& error) {
      fail(ErrorCode::kInvalidArgument, where, "{}: {}", option.name, error.message());
    }
  }
  Json object = Json::object();
  for (const std::string& item : split(text, ',')) {
    const size_t equals = item.rfind('=');
    double value = 0;
    const char* end = item.data() + item.size();
    const char* begin = equals == std::string::npos ? end : item.data() + equals + 1;
    if (const auto [at, status] = std::from_chars(begin, end, value);
        status != std::errc() || at != end || equals == 0) {
      fail(ErrorCode::kInvalidArgument, where,
           "{} must be written NAME=NUMBER,... or as a JSON object, but is '{}'", option.name,
           text);
    }
    object[item.substr(0, equals)] = value;
  }
  return object;
}

}  // namespace

Limits range(double low, double high) {
  return {low, high, {}};
}
Limits at_least(double low) {
  return {low, std::numeric_limits<double>::infinity(), {}};
}
Limits one_of(std::vector<std::string> choices) {
  Limits limits;
  limits.choices = std::move(choices);
  return limits;
}

Json option_value(const Option& option) {
  return std::visit([](const auto* value) { return Json(*value); }, option.value);
}

void set_option(const Option& option, const Json& value, std::string_view where) {
  if (auto* const* target = std::get_if<bool*>(&option.value)) {
    if (!value.is_boolean()) wrong_type(option, value, where);
    **target = value.get<bool>();
  } else if (auto* const* whole = std::get_if<int64_t*>(&option.value)) {
    if (!value.is_number_integer()) wrong_type(option, value, where);
    check_number(option, value.get<double>(), where);
    **whole = value.get<int64_t>();
  } else if (auto* const* real = std::get_if<double*>(&option.value)) {
    if (!value.is_number()) wrong_type(option, value, where);
    check_number(option, value.get<double>(), where);
    **real = value.get<double>();
  } else if (auto* const* text = std::get_if<std::string*>(&option.value)) {
    if (!value.is_string()) wrong_type(option, value, where);
    check_choice(option, value.get<std::string>(), where);
    **text = value.get<std::string>();
  } else if (auto* const* items = std::get_if<std::vector<std::string>*>(&option.value)) {
    if (value.is_string()) {
      **items = {value.get<std::string>()};
      return;
    }
    if (!value.is_array()) wrong_type(option, value, where);
    std::vector<std::string> parsed;
    for (const auto& item : value) {
      if (!item.is_string()) wrong_type(option, value, where);
      parsed.push_back(item.get<std::string>());
    }
    **items = std::move(parsed);
  } else if (auto* const* map = std::get_if<std::map<std::string, double>*>(&option.value)) {
    if (!value.is_object()) wrong_type(option, value, where);
    std::map<std::string, double> parsed;
    for (const auto& [key, item] : value.items()) {
      if (!item.is_number()) wrong_type(option, value, where);
      check_number(option, item.get<double>(), where);
      parsed[key] = item.get<double>();
    }
    **map = std::move(parsed);
  }
}

void set_option_from_text(const Option& option, std::string_view text, std::string_view where) {
  if (std::holds_alternative<bool*>(option.value)) {
    const bool yes = text == "true" || text == "1" || text == "yes" || text == "on";
    const bool no = text == "false" || text == "0" || text == "no" || text == "off";
    if (!yes && !no) {
      fail(ErrorCode::kInvalidArgument, where, "{} must be true or false, but is '{}'", option.name,
           text);
    }
    set_option(option, yes, where);
  } else if (std::holds_alternative<int64_t*>(option.value)) {
    set_option(option, parse_number<int64_t>(option, text, where), where);
  } else if (std::holds_alternative<double*>(option.value)) {
    set_option(option, parse_number<double>(option, text, where), where);
  } else if (std::holds_alternative<std::string*>(option.value)) {
    set_option(option, std::string(text), where);
  } else if (std::holds_alternative<std::vector<std::string>*>(option.value)) {
    set_option(option, split(text, ','), where);
  } else {
    set_option(option, parse_map(option, text, where), where);
  }
}

void set_options(const std::vector<Option>& options, const Json& object, std::string_view where) {
  if (!object.is_object()) {
    fail(ErrorCode::kInvalidArgument, where, "expected keys and values, but got {}", object.dump());
  }
  for (const auto& [key, value] : object.items()) {
    const auto found = std::find_if(options.begin(), options.end(),
                                    [&, &name = key](const Option& o) { return o.name == name; });
    if (found == options.end()) {
      std::vector<std::string> names;
      for (const auto& option : options) names.push_back(option.name);
      fail(ErrorCode::kInvalidArgument, where, "unknown key '{}'{}", key, suggestion(key, names));
    }
    set_option(*found, value, where);
  }
}

Json options_to_json(const std::vector<Option>& options) {
  Json object = Json::object();
  for (const auto& option : options) object[option.name] = option_value(option);
  return object;
}

std::string describe_limits(const Option& option) {
  const Limits& limits = option.limits;
  if (!limits.choices.empty()) return "one of " + join(limits.choices, ", ");
  const bool low = std::isfinite(limits.low);
  const bool high = std::isfinite(limits.high);
  if (low && high) return fmt::format("{} to {}", limits.low, limits.high);
  if (low) return fmt::format("at least {}", limits.low);
  if (high) return fmt::format("at most {}", limits.high);
  return "";
}

std::string type_name(const Option& option) {
  static constexpr const char* kNames[] = {"bool", "int", "float", "text", "list", "map"};
  return kNames[option.value.index()];
}

}  // namespace moxie
