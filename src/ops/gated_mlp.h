#pragma once
#include <memory>
#include <vector>

#include "ops/activation.h"
#include "ops/adapted_int8.h"
#include "ops/tape.h"
namespace moxie::ops {
struct MlpParts {
  AdaptedMatrix gate, up, down;
};
// down(f(gate(x)) * up(x)), x [n, in]: adapted_linear and swiglu in one op. Where all weights run
// packed nothing between x and the result is ever a matrix of f32, and gate and up are kept for the
// backward in bf16 (kernels/gated_rows.h); where all run in integers (adapted_int8.h) so are these
// and x; else the ops run one after the other.
Tensor gated_mlp(const Tensor& x, const MlpParts& parts, Activation activation);
}  // namespace moxie::ops
