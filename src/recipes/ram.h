#pragma once
// The memory contract of `tune --ram`: how much a run may hold, and the plan that keeps to it.
#include <cstdint>
#include <functional>
#include <string>

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

// The fastest choice that fits `limit`: whole micro-batches first, smaller ones down to `longest`
// (the longest sample), then with each block's values computed again. None: throws kInvalidArgument
// with `advice(needed)`, where `needed` is the least that a run takes.
RamChoice fit_ram(uint64_t limit, RamChoice wanted, int64_t longest,
                  const std::function<uint64_t(const RamChoice&)>& memory_of,
                  const std::function<std::string(uint64_t needed)>& advice);

}  // namespace moxie::recipes
