#pragma once
// The ragged batch: sequences one after another, without padding. Every op but attention sees rows.
#include <cstdint>
#include <vector>

namespace moxie::nn {

struct Batch {
  std::vector<int32_t> tokens;     // [N]
  std::vector<int32_t> positions;  // [N], from 0 in each sequence (or after what its cache holds)
  std::vector<int64_t> offsets;    // [sequences + 1]; offsets[0] = 0, offsets.back() = N

  int64_t rows() const { return static_cast<int64_t>(tokens.size()); }
  int64_t sequences() const { return static_cast<int64_t>(offsets.size()) - 1; }
  // Appends one sequence that starts at `first_position`.
  void add(const std::vector<int32_t>& sequence, int32_t first_position = 0);
};

}  // namespace moxie::nn
