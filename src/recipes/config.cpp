#include "recipes/config.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/text_util.h"

namespace moxie::recipes {
namespace {

constexpr const char* kVerbKey = "verb";

std::string at_line(std::string_view where, const YAML::Mark& mark) {
  return mark.is_null() ? std::string(where) : fmt::format("{}:{}", where, mark.line + 1);
}

YAML::Node load(std::string_view text, std::string_view where) {
  if (!is_valid_utf8(text)) fail(ErrorCode::kCorruptData, where, "is not valid UTF-8 text");
  YAML::Node root;
  try {
    root = YAML::Load(std::string(text));
  } catch (const YAML::Exception& error) {
    fail(ErrorCode::kCorruptData, at_line(where, error.mark), "is not valid YAML: {}", error.msg);
  }
  if (!root.IsMap()) {
    fail(ErrorCode::kCorruptData, where, "a recipe is a list of `key: value` lines; this is none");
  }
  return root;
}

std::string scalar(const YAML::Node& node, std::string_view key, const std::string& where) {
  if (!node.IsScalar()) {
    fail(ErrorCode::kInvalidArgument, where, "{} must be one value", key);
  }
  return node.Scalar();
}

void set_from_node(const Option& option, const YAML::Node& node, const std::string& where) {
  if (std::holds_alternative<std::vector<std::string>*>(option.value) && node.IsSequence()) {
    Json items = Json::array();
    for (const auto& item : node) items.push_back(scalar(item, option.name, where));
    set_option(option, items, where);
  } else if (std::holds_alternative<std::vector<std::string>*>(option.value)) {
    set_option(option, Json::array({scalar(node, option.name, where)}), where);
  } else if (std::holds_alternative<std::map<std::string, double>*>(option.value) && node.IsMap()) {
    Json object = Json::object();
    for (const auto& item : node) {
      double number = 0;
      if (!YAML::convert<double>::decode(item.second, number)) {
        fail(ErrorCode::kInvalidArgument, where, "{} must map names to numbers", option.name);
      }
      object[scalar(item.first, option.name, where)] = number;
    }
    set_option(option, object, where);
  } else {
    set_option_from_text(option, scalar(node, option.name, where), where);
  }
}

}  // namespace

void apply_config(std::string_view text, std::string_view where, std::string_view verb,
                  const std::vector<Option>& options) {
  std::vector<std::string> names = {kVerbKey};
  for (const auto& option : options) names.push_back(option.name);
  std::vector<std::string> seen;
  for (const auto& item : load(text, where)) {
    const std::string line = at_line(where, item.first.Mark());
    const std::string key = scalar(item.first, "a key", line);
    if (std::find(seen.begin(), seen.end(), key) != seen.end()) {
      fail(ErrorCode::kInvalidArgument, line, "{} is given twice; keep one", key);
    }
    seen.push_back(key);
    if (key == kVerbKey) {
      const std::string named = scalar(item.second, key, line);
      if (named != verb) {
        fail(ErrorCode::kInvalidArgument, line, "this recipe is for `moxie {}`, not for `moxie {}`",
             named, verb);
      }
      continue;
    }
    const auto found = std::find_if(options.begin(), options.end(),
                                    [&](const Option& option) { return option.name == key; });
    if (found == options.end()) {
      fail(ErrorCode::kInvalidArgument, line, "unknown key '{}'{}", key, suggestion(key, names));
    }
    if (item.second.IsNull()) {
      fail(ErrorCode::kInvalidArgument, line, "{} has no value; give one or take the line out",
           key);
    }
    for (const Option& option : options) {  // methods may share a name: it stands for all of them
      if (option.name == key) set_from_node(option, item.second, line);
    }
  }
}

std::string verb_of_config(std::string_view text, std::string_view where) {
  const YAML::Node root = load(text, where);
  const YAML::Node verb = root[kVerbKey];
  return verb ? scalar(verb, kVerbKey, at_line(where, verb.Mark())) : "tune";
}

std::string config_to_yaml(std::string_view verb, const std::vector<Option>& options) {
  YAML::Emitter out;
  out << YAML::BeginMap << YAML::Key << kVerbKey << YAML::Value << std::string(verb);
  std::set<std::string> seen;
  for (const auto& option : options) {
    if (!seen.insert(option.name).second) continue;
    const Json value = option_value(option);
    out << YAML::Key << option.name << YAML::Value;
    if (value.is_string()) {
      out << YAML::DoubleQuoted << value.get<std::string>();
    } else if (value.is_array()) {
      out << YAML::Flow << YAML::BeginSeq;
      for (const auto& item : value) out << YAML::DoubleQuoted << item.get<std::string>();
      out << YAML::EndSeq;
    } else if (value.is_object()) {
      out << YAML::Flow << YAML::BeginMap;
      for (const auto& [key, item] : value.items()) {
        out << YAML::Key << YAML::DoubleQuoted << key << YAML::Value
            << fmt::format("{}", item.get<double>());
      }
      out << YAML::EndMap;
    } else if (value.is_number_float()) {
      out << fmt::format("{}", value.get<double>());
    } else {
      out << value.dump();
    }
  }
  out << YAML::EndMap;
  return std::string(out.c_str()) + "\n";
}

}  // namespace moxie::recipes
