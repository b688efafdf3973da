#pragma once
// Normally distributed numbers out of a seed, for tests.
#include <cstdint>
#include <vector>

#include "base/rng.h"

namespace moxie {

inline std::vector<float> normals(int64_t count, uint64_t seed, double size = 1) {
  Rng rng(seed);
  std::vector<float> out(static_cast<size_t>(count));
  for (float& x : out) x = static_cast<float>(size * rng.normal());
  return out;
}

}  // namespace moxie
