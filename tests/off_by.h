#pragma once
// How far numbers are off, in the norm of what they should be.
#include <cmath>
#include <cstddef>
#include <vector>

namespace moxie {

inline double off_by(const std::vector<float>& got, const std::vector<float>& want) {
  double error = 0, size = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    error += std::pow(got[i] - want[i], 2);
    size += std::pow(want[i], 2);
  }
  return std::sqrt(error / size);
}

}  // namespace moxie
