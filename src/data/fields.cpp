#include "data/fields.h"

#include <utility>

#include "base/error.h"

namespace moxie::data {
namespace {

[[noreturn]] void wrong_type(std::string_view where, std::string_view key, const Json& value,
                             std::string_view wanted) {
  fail(ErrorCode::kCorruptData, where, "'{}' is {}, but must be {}; correct the line", key,
       value.type_name(), wanted);
}

std::string joined_parts(const Json& parts, std::string_view where, std::string_view name) {
  std::string text;
  for (const Json& part : parts) {
    const bool is_text = part.is_object() && part.value("type", Json()) == "text" &&
                         part.contains("text") && part["text"].is_string();
    if (!is_text) {
      fail(ErrorCode::kUnsupported, where,
           "{} has a content part that is not text; Moxie tunes text models, leave out images and "
           "audio",
           name);
    }
    text += part["text"].get_ref<const std::string&>();
  }
  return text;
}

Json checked_message(const Json& given, std::string_view where, const std::string& name) {
  if (!given.is_object()) wrong_type(where, name, given, "an object {role, content}");
  if (!given.contains("role") || !given["role"].is_string() || given["role"] == "") {
    const bool is_sharegpt = given.contains("from");
    fail(ErrorCode::kCorruptData, where, "{} has no 'role' that is text; {}", name,
         is_sharegpt ? "it has 'from': name the list 'conversations' (sharegpt)"
                     : "give each message a role (system, user, assistant, tool)");
  }
  Json checked = given;
  const bool has_calls = has_value(given, "tool_calls");
  if (has_calls && !given["tool_calls"].is_array()) {
    wrong_type(where, name + ".tool_calls", given["tool_calls"], "a list");
  }
  if (!has_calls) checked.erase("tool_calls");
  const Json content = given.contains("content") ? given["content"] : Json();
  if (content.is_null() && has_calls) {
    checked["content"] = "";
  } else if (content.is_array()) {
    checked["content"] = joined_parts(content, where, name);
  } else if (!content.is_string()) {
    wrong_type(where, name + ".content", content, "text");
  }
  return checked;
}

}  // namespace

bool has_value(const Json& row, std::string_view key) {
  const auto found = row.find(key);
  return found != row.end() && !found->is_null();
}

std::string need_string(const Json& row, std::string_view key, std::string_view where) {
  const auto found = row.find(key);
  if (found == row.end()) {
    fail(ErrorCode::kCorruptData, where, "the key '{}' is missing; add it", key);
  }
  if (!found->is_string()) wrong_type(where, key, *found, "text");
  return found->get<std::string>();
}

std::string string_or_empty(const Json& row, std::string_view key, std::string_view where) {
  return has_value(row, key) ? need_string(row, key, where) : std::string();
}

Json list_or_null(const Json& row, std::string_view key, std::string_view where) {
  if (!has_value(row, key)) return nullptr;
  Json value = row[key];
  if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    if (text.find_first_not_of(" \t\r\n") == std::string::npos) return nullptr;
    value = parse_json(text, fmt::format("{} ('{}')", where, key));
    if (value.is_null()) return nullptr;
  }
  if (!value.is_array()) wrong_type(where, key, value, "a list");
  return value;
}

Json need_messages(const Json& row, std::string_view key, std::string_view where) {
  const Json given = list_or_null(row, key, where);
  if (given.is_null() || given.empty()) {
    fail(ErrorCode::kCorruptData, where,
         "'{}' holds no message; give a list [{{\"role\": ..., \"content\": ...}}, ...]", key);
  }
  Json messages = Json::array();
  for (size_t i = 0; i < given.size(); ++i) {
    messages.push_back(checked_message(given[i], where, fmt::format("{}[{}]", key, i)));
  }
  return messages;
}

Json object_or_empty(const Json& row, std::string_view key, std::string_view where) {
  if (!has_value(row, key)) return Json::object();
  if (!row[key].is_object()) wrong_type(where, key, row[key], "an object");
  return row[key];
}

Json message(std::string_view role, std::string content) {
  return Json{{"role", std::string(role)}, {"content", std::move(content)}};
}

}  // namespace moxie::data
