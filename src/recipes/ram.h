#pragma once
// The memory contract of `tune --ram`: how much a run may hold, and the plan that keeps to it.
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "recipes/tune_plan.h"

namespace moxie::recipes {

// Bytes that "8G", "600M", "50%" (of the machine's memory) or "auto" (nine tenths of what is free
// now) mean. Throws kInvalidArgument.
uint64_t parse_ram(const std::string& text);

// What a plan may change, and the memory it then takes.
struct RamChoice {
  int64_t micro_tokens = 0;
  bool recomputes = false;
};

// A setting that could let a run fit: its value is halved from `now` down to `least`.
struct RamSetting {
  std::string flag;  // "--rank {}"
  int64_t now = 0, least = 1;
  std::function<uint64_t(int64_t value)> memory_of;
};

// The fastest choice that fits `limit`: whole micro-batches first, smaller ones down to `longest`
// (the longest sample), then with each block's values computed again. None: throws kInvalidArgument
// with the --ram that would do and those of `settings` that alone would.
RamChoice fit_ram(uint64_t limit, RamChoice wanted, int64_t longest,
                  const std::function<uint64_t(const RamChoice&)>& memory_of,
                  const std::function<std::vector<RamSetting>()>& settings);

}  // namespace moxie::recipes
