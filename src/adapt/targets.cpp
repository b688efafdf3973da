#include "adapt/targets.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <regex>
#include <set>

#include "base/text_util.h"
#include "models/names.h"

namespace moxie::adapt {
namespace {

bool is_plain(const std::string& pattern) {
  return std::all_of(pattern.begin(), pattern.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '.' || c == '-';
  });
}

bool ends_at_dot(const std::string& module, const std::string& suffix) {
  return module == suffix || (module.size() > suffix.size() && module.ends_with(suffix) &&
                              module[module.size() - suffix.size() - 1] == '.');
}

// Patterns come with adapters, from strangers: where the library can, match in polynomial time
// (no back references then) instead of by backtracking.
constexpr auto kSyntax = std::regex::ECMAScript
#ifdef __GLIBCXX__
                         | std::regex_constants::__polynomial
#endif
    ;

const std::regex& compiled(const std::string& pattern) {
  thread_local std::map<std::string, std::regex> known;  // each pattern meets every module
  if (const auto at = known.find(pattern); at != known.end()) return at->second;
  if (known.size() >= 512) known.clear();
  if (pattern.size() > 1000) {
    fail(ErrorCode::kInvalidArgument, "targets", "the pattern has {} characters; 1000 are allowed",
         pattern.size());
  }
  try {
    return known.emplace(pattern, std::regex(pattern, kSyntax)).first->second;
  } catch (const std::regex_error& error) {
    fail(ErrorCode::kInvalidArgument, "targets", "'{}' is no regular expression: {}", pattern,
         error.what());
  }
}

std::set<int64_t> parse_layers(const std::vector<std::string>& ranges, int64_t count) {
  std::set<int64_t> layers;
  for (const std::string& range : ranges) {
    int64_t first = 0;
    int64_t last = 0;
    const char* end = range.data() + range.size();
    auto [at, status] = std::from_chars(range.data(), end, first);
    last = first;
    if (status == std::errc() && at != end && *at == '-') {
      const auto second = std::from_chars(at + 1, end, last);
      at = second.ptr;
      status = second.ec;
    }
    if (status != std::errc() || at != end || first < 0 || last < first || last >= count) {
      fail(ErrorCode::kInvalidArgument, "targets",
           "layers '{}' is not a range within 0-{}; write 0-7 or 12", range, count - 1);
    }
    for (int64_t layer = first; layer <= last; ++layer) layers.insert(layer);
  }
  return layers;
}

bool is_picked(const std::vector<std::string>& patterns, const Target& target) {
  return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
    if (pattern == "all-linear") {  // but the output projection, as PEFT has it
      return target.site->kind == nn::SiteKind::kLinear && target.site->layer >= 0;
    }
    return matches_module(pattern, target.module) || pattern == target.site->name;
  });
}

}  // namespace

bool matches_module(const std::string& pattern, const std::string& module) {
  if (is_plain(pattern)) return ends_at_dot(module, pattern);
  return std::regex_match(module, compiled(pattern));
}

std::vector<Target> select_targets(nn::Decoder& decoder, const TargetOptions& options,
                                   const std::vector<nn::SiteKind>& kinds,
                                   const std::string& where) {
  const auto layers =
      parse_layers(options.layers, static_cast<int64_t>(decoder.config().layers.size()));
  std::vector<Target> picked;
  std::set<std::string> choices;
  for (nn::Site* site : decoder.sites()) {
    if (std::find(kinds.begin(), kinds.end(), site->kind) == kinds.end()) continue;
    const Target target{site, models::hf_module_name(decoder.config(), site->name)};
    choices.insert(target.module.substr(target.module.rfind('.') + 1));
    if (!is_picked(options.targets, target) || is_picked(options.exclude, target)) continue;
    if (!layers.empty() && layers.count(site->layer) == 0) continue;
    picked.push_back(target);
  }
  if (picked.empty()) {
    const std::vector<std::string> names(choices.begin(), choices.end());
    fail(ErrorCode::kInvalidArgument, where,
         "the targets '{}' match no module of this model; choose all-linear, or from {}",
         join(options.targets, ","), join(names, ", "));
  }
  return picked;
}

}  // namespace moxie::adapt
