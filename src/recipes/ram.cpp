#include "recipes/ram.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/error.h"
#include "base/memory.h"
#include "base/text_util.h"

namespace moxie::recipes {
namespace {

// The allocator rounds up and keeps a little of what was freed: a plan uses this share of the
// limit.
constexpr double kUsable = 0.92;

// ", or --rank 4 (about 25.0 MiB)": the first value of each setting that alone lets the run fit.
std::string others(const std::vector<RamSetting>& settings, uint64_t usable) {
  std::string text;
  for (const RamSetting& setting : settings) {
    for (int64_t value = setting.now / 2; value >= setting.least; value /= 2) {
      const uint64_t bytes = setting.memory_of(value);
      if (bytes > usable) continue;
      text += ", or " + fmt::format(fmt::runtime(setting.flag), value) + " (about " +
              human_bytes(bytes) + ")";
      break;
    }
  }
  if (!text.empty()) return text;
  for (const RamSetting& setting : settings)
    text += (text.empty() ? "" : " or ") + setting.flag.substr(0, setting.flag.find(" {}"));
  return "; no " + text + " alone makes it fit: take a smaller model, or a file of fewer bits";
}

}  // namespace

uint64_t parse_ram(const std::string& text) {
  if (text == "auto") return available_memory() / 10 * 9;
  double amount = 0;
  const char* end = text.data() + text.size();
  const auto [at, status] = std::from_chars(text.data(), end, amount);
  std::string unit(at, end);
  if (unit.size() > 1 && (unit.substr(1) == "B" || unit.substr(1) == "iB")) unit.resize(1);
  double bytes = -1;
  if (unit == "%") {
    bytes = amount <= 100 ? amount / 100 * static_cast<double>(machine_memory()) : -1;
  } else if (unit == "M" || unit == "G" || unit == "T") {
    bytes = amount * std::exp2(unit == "M" ? 20 : unit == "G" ? 30 : 40);
  }
  if (status != std::errc() || !(bytes >= 1 && bytes < 0x1p60)) {
    fail(ErrorCode::kInvalidArgument, "ram",
         "'{}' is no amount of memory; write 8G, 600M, 50% of the machine's, or auto", text);
  }
  return static_cast<uint64_t>(bytes);
}

RamChoice fit_ram(uint64_t limit, RamChoice wanted, int64_t longest,
                  const std::function<uint64_t(const RamChoice&)>& memory_of,
                  const std::function<std::vector<RamSetting>()>& settings) {
  const auto usable = static_cast<uint64_t>(kUsable * static_cast<double>(limit));
  uint64_t needed = UINT64_MAX;
  for (const bool recomputes : {wanted.recomputes, true}) {
    for (int64_t micro = std::max(wanted.micro_tokens, longest);;
         micro = std::max(micro / 2, longest)) {
      const RamChoice choice{micro, recomputes};
      const uint64_t bytes = memory_of(choice);
      if (bytes <= usable) return choice;
      needed = std::min(needed, bytes);
      if (micro == longest) break;
    }
  }
  const auto least = static_cast<uint64_t>(std::ceil(static_cast<double>(needed) / kUsable));
  fail(ErrorCode::kInvalidArgument, "ram",
       "this run takes at least {}, and --ram allows {}; give --ram {}M{}", human_bytes(least),
       human_bytes(limit), (least >> 20) + 1, others(settings(), usable));
}

}  // namespace moxie::recipes
