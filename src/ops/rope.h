#pragma once
// Rotary position embedding (Su et al., 2021), Hugging Face's half-split pairing: element i of a
// head turns with element i + rotated / 2. Scaling types only change the frequencies:
// nn/rope_table.h.
#include <memory>
#include <vector>

#include "ops/tape.h"

namespace moxie::ops {

struct RopeAngles {
  std::vector<int32_t> positions;   // [N]
  std::vector<double> frequencies;  // [rotated / 2], radians a position
  double amplitude = 1;             // multiplies cos and sin (YaRN, LongRoPE)
  // cos and sin [N, rotated / 2] in f32, made by tabulate() so that all layers share them; while
  // empty, rope() computes them itself.
  std::vector<float> cosines = {}, sines = {};
};
void tabulate(RopeAngles& angles);

// x [N, heads * head_dim]; the first 2 * frequencies.size() elements of each head turn, where they
// are if x is the only handle on them.
Tensor rope(Tensor x, int64_t head_dim, std::shared_ptr<const RopeAngles> angles);

}  // namespace moxie::ops
