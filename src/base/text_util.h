#pragma once
// Small helpers over strings: nearest name, joining, human sizes.
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace moxie {

// The candidate nearest to `word` by edit distance, or "" when none is near enough to be meant.
std::string closest_match(std::string_view word, std::span<const std::string> candidates);
// "; did you mean 'x'?" or, with nothing near, "; choose one of a, b, c".
std::string suggestion(std::string_view word, std::span<const std::string> candidates);
std::string join(std::span<const std::string> parts, std::string_view separator);
std::string human_bytes(uint64_t bytes);     // "1.5 GiB"
std::string human_duration(double seconds);  // "3m 20s"
bool is_valid_utf8(std::string_view text);
std::vector<std::string> split(std::string_view text, char separator);

}  // namespace moxie
