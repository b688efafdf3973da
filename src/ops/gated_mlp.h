#pragma once
#include <memory>
#include <vector>

#include "ops/activation.h"
#include "ops/tape.h"
#include "quant/weight.h"
namespace moxie::ops {
// One frozen linear of a gated MLP, and the LoRA beside it if A [r, in] and B [out, r] are defined.
struct MlpPart {
  quant::Weight weight;
  Tensor a, b;
  double scaling = 0;
  bool is_adapted() const { return a.defined(); }
};
struct MlpParts {
  MlpPart gate, up, down;
};
// down(f(gate(x)) * up(x)), x [n, in]: adapted_linear and swiglu in one op. Where all weights run
// packed nothing between x and the result is ever a matrix of f32, and gate and up are kept for the
// backward in bf16 (kernels/gated_rows.h); else the ops run one after the other.
Tensor gated_mlp(const Tensor& x, const MlpParts& parts, Activation activation);
}  // namespace moxie::ops
