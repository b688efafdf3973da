#pragma once
#include <vector>

#include "ops/cross_entropy.h"
namespace moxie::ops {
// Sum over the rows of -log softmax(logits)[label], a tensor of shape [1], for heads that cannot be
// fused with it because something is attached to them. logits [n, vocab], one label (>= 0) a row.
Tensor logit_loss(const Tensor& logits, std::vector<int64_t> labels, LogitOptions options = {});
}  // namespace moxie::ops
