#pragma once
// An encoded example as text for --dry-run: what is learnt is green or stands in [[ ]]. Control
// characters of the data are escaped, so that no data set can write to the terminal.
#include <functional>
#include <string>
#include <vector>

#include "data/sample.h"

namespace moxie::data {

// decode: the text of token ids, special tokens included.
using Decode = std::function<std::string(const std::vector<int32_t>& ids)>;

// Ends with a line of counts: tokens, learnt ones, and what the length limit cut.
std::string preview(const Sample& sample, const Decode& decode, bool in_colour);

}  // namespace moxie::data
