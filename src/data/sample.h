#pragma once
// What training sees of one example: token ids, and which of them are learnt.
#include <cstdint>
#include <string>
#include <vector>

namespace moxie::data {

struct Sample {
  std::vector<int32_t> tokens;
  std::vector<uint8_t>
      is_learnt;    // per token: the loss counts the prediction OF this token (never of the first)
  int64_t cut = 0;  // tokens lost to the length limit
  int64_t learnt_count() const;  // learnt tokens after the first position
};

}  // namespace moxie::data
