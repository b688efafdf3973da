#pragma once
#include "ops/tape.h"
namespace moxie::ops {
// x [.., d] normed over groups of weight.count() elements of the last dimension (the head size for
// a per-head norm). shift: y = x / rms(x) * (shift + w); Gemma stores w - 1 and uses shift 1.
// keeps_bf16: the backward sees x rounded to bf16 (kept.h).
Tensor rms_norm(const Tensor& x, const Tensor& weight, double epsilon, double shift = 0,
                bool keeps_bf16 = false);
}  // namespace moxie::ops
