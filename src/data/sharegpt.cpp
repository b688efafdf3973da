// {conversations: [{from, value}], system?, tools?}. A function_call becomes an assistant's
// tool_calls; rows whose messages have role / content under `conversations` are read as well.
#include <array>
#include <utility>

#include "base/error.h"
#include "data/fields.h"
#include "data/shape.h"

namespace moxie::data {
namespace {

// The names publishers use, and the roles that chat templates know.
constexpr std::array kRoles = {
    std::pair{"human", "user"},
    std::pair{"user", "user"},
    std::pair{"gpt", "assistant"},
    std::pair{"assistant", "assistant"},
    std::pair{"chatgpt", "assistant"},
    std::pair{"bot", "assistant"},
    std::pair{"model", "assistant"},
    std::pair{"system", "system"},
    std::pair{"tool", "tool"},
    std::pair{"observation", "tool"},
    std::pair{"function_response", "tool"},
};

Json function_call(const std::string& value, std::string_view where) {
  Json call = parse_json(value, fmt::format("{} (function_call)", where));
  if (!call.is_object() || !call.contains("name")) {
    fail(ErrorCode::kCorruptData, where,
         "a function_call's value is not {{\"name\": ..., \"arguments\": ...}}; correct it");
  }
  Json turn = message("assistant", "");
  turn["tool_calls"] = Json::array({Json{{"type", "function"}, {"function", std::move(call)}}});
  return turn;
}

Json converted(const Json& given, size_t index, std::string_view where) {
  const std::string at = fmt::format("{} (conversations[{}])", where, index);
  if (!given.is_object()) {
    fail(ErrorCode::kCorruptData, at, "this is {}, but must be an object {{from, value}}",
         given.type_name());
  }
  const std::string from = need_string(given, "from", at);
  std::string value = need_string(given, "value", at);
  if (from == "function_call") return function_call(value, at);
  for (const auto& [name, role] : kRoles) {
    if (from == name) return message(role, std::move(value));
  }
  std::vector<std::string> names{"function_call"};
  for (const auto& [name, role] : kRoles) names.emplace_back(name);
  fail(ErrorCode::kCorruptData, at, "unknown speaker '{}'{}", from, suggestion(from, names));
}

Record convert(const Json& row, std::string_view where) {
  Record record;
  record.kind = Record::Kind::kChat;
  if (const std::string system = string_or_empty(row, "system", where); !system.empty()) {
    record.messages.push_back(message("system", system));
  }
  const Json given = list_or_null(row, "conversations", where);
  if (given.is_null() || given.empty()) {
    fail(ErrorCode::kCorruptData, where,
         "'conversations' holds no message; give a list [{{\"from\": ..., \"value\": ...}}, ...]");
  }
  const bool has_roles = given[0].is_object() && given[0].contains("role");
  const Json checked = has_roles ? need_messages(row, "conversations", where) : given;
  for (size_t i = 0; i < checked.size(); ++i) {
    record.messages.push_back(has_roles ? checked[i] : converted(checked[i], i, where));
  }
  record.tools = list_or_null(row, "tools", where);
  return record;
}

}  // namespace

extern const Shape sharegpt_entry;
const Shape sharegpt_entry{
    .summary = "a conversation with from / value; the assistant's turns are learnt",
    .needs = {"conversations"},
    .takes = {"system", "tools"},
    .convert = convert,
    .example = R"({"conversations": [{"from": "human", "value": "What color is the sky?"}, )"
               R"({"from": "gpt", "value": "It is blue."}]})",
};

}  // namespace moxie::data
