#pragma once
// The uneven levels of iq4_nl and iq4_xs (ggml's definition): closer together near zero, where most
// weights are.
#include <cstdint>

namespace moxie::quant {

inline constexpr int8_t kUnevenLevels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                             1,    13,   25,  38,  53,  69,  89,  113};

}  // namespace moxie::quant
