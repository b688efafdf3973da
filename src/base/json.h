#pragma once
// JSON from strangers: nlohmann::ordered_json behind limits (nesting, duplicate keys, UTF-8).
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>

namespace moxie {

using Json = nlohmann::ordered_json;

constexpr int kMaxJsonDepth = 64;
constexpr size_t kMaxJsonKeys = size_t{1} << 20;

// Parses strictly: one value, no duplicate keys, valid UTF-8, nesting at most kMaxJsonDepth, at
// most max_keys keys in an object (an ordered object takes time quadratic in its keys). Throws
// kCorruptData that starts with `where` (a file name, or file:line).
Json parse_json(std::string_view text, std::string_view where, size_t max_keys = kMaxJsonKeys);
Json read_json_file(const std::filesystem::path& path);

}  // namespace moxie
