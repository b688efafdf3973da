#include "nn/batch.h"

#include <cstddef>

namespace moxie::nn {

void Batch::add(const std::vector<int32_t>& sequence, int32_t first_position) {
  if (offsets.empty()) offsets.push_back(0);
  tokens.insert(tokens.end(), sequence.begin(), sequence.end());
  for (std::size_t i = 0; i < sequence.size(); ++i)
    positions.push_back(first_position + static_cast<int32_t>(i));
  offsets.push_back(rows());
}

}  // namespace moxie::nn
