#pragma once
// The loss of an objective over a whole source, in its given order: no gradient, no dropout.
#include <functional>
#include <optional>

#include "train/objective.h"
#include "train/sample_source.h"

namespace moxie::train {

// The summed loss over all learnt tokens; nothing when `stop` asked to leave on the way. A source
// without a learnt token is an error.
std::optional<LossSum> evaluate_loss(Objective& objective, const SampleSource& source,
                                     int64_t micro_tokens, const std::function<bool()>& stop = {});

}  // namespace moxie::train
