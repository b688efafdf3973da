#pragma once
// Typed access to the keys of one row, for the shapes: each throws kCorruptData that names the file
// and line, the key, what was found and what is wanted.
#include <string>
#include <string_view>

#include "base/json.h"

namespace moxie::data {

bool has_value(const Json& row, std::string_view key);  // present and not null
std::string need_string(const Json& row, std::string_view key, std::string_view where);
std::string string_or_empty(const Json& row, std::string_view key, std::string_view where);
// A list, or text that holds one (as columns of tables do); null when absent.
Json list_or_null(const Json& row, std::string_view key, std::string_view where);
// Checked messages under `key`: a list that is not empty, each with a role and a content (text,
// null where there are tool_calls, or a list of text parts, which are joined).
Json need_messages(const Json& row, std::string_view key, std::string_view where);
Json object_or_empty(const Json& row, std::string_view key, std::string_view where);
Json message(std::string_view role, std::string content);

}  // namespace moxie::data
