#include "recipes/ram.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>

#include "base/error.h"
#include "base/text_util.h"

namespace moxie::recipes {
namespace {

// The allocator rounds up and keeps a little of what was freed: a plan uses this share of the
// limit.
constexpr double kUsable = 0.92;

uint64_t machine_bytes() {
  return static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
         static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

uint64_t free_bytes() {
  std::ifstream file("/proc/meminfo");
  std::string key;
  uint64_t kib = 0;
  while (file >> key >> kib) {
    if (key == "MemAvailable:") return kib << 10;
    file.ignore(64, '\n');
  }
  return machine_bytes() / 2;
}

}  // namespace

uint64_t parse_ram(const std::string& text) {
  if (text == "auto") return free_bytes() / 10 * 9;
  double amount = 0;
  const char* end = text.data() + text.size();
  const auto [at, status] = std::from_chars(text.data(), end, amount);
  std::string unit(at, end);
  if (unit.size() > 1 && (unit.substr(1) == "B" || unit.substr(1) == "iB")) unit.resize(1);
  double bytes = -1;
  if (unit == "%") {
    bytes = amount <= 100 ? amount / 100 * static_cast<double>(machine_bytes()) : -1;
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
                  const std::function<std::string(uint64_t)>& advice) {
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
  fail(ErrorCode::kInvalidArgument, "ram", "this run takes at least {}, and --ram allows {}; {}",
       human_bytes(least), human_bytes(limit), advice(least));
}

}  // namespace moxie::recipes
