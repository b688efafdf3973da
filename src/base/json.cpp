#include "base/json.h"

#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/files.h"

namespace moxie {

Json parse_json(std::string_view text, std::string_view where, size_t max_keys) {
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  const auto check = [&](int depth, Json::parse_event_t event, Json& parsed) {
    using Event = Json::parse_event_t;
    if (depth > kMaxJsonDepth) {
      fail(ErrorCode::kCorruptData, where, "JSON is nested deeper than {}", kMaxJsonDepth);
    }
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key && !keys.back().insert(parsed.get<std::string>()).second) {
      fail(ErrorCode::kCorruptData, where, "the key '{}' stands twice in one JSON object",
           parsed.get<std::string>());
    }
    if (event == Event::key && keys.back().size() > max_keys) {
      fail(ErrorCode::kCorruptData, where, "a JSON object has more than {} keys", max_keys);
    }
    return true;
  };
  try {
    return Json::parse(text, check);
  } catch (const Json::exception& error) {
    std::string why = error.what();  // "[json.exception.parse_error.101] parse error at ..."
    if (const auto end = why.find("] "); end != std::string::npos) why = why.substr(end + 2);
    fail(ErrorCode::kCorruptData, where, "not valid JSON: {}", why);
  }
}

Json read_json_file(const std::filesystem::path& path) {
  return parse_json(read_file(path), path.string());
}

}  // namespace moxie
