#pragma once
// Which activation an op applies; the maths is in kernels/rowwise.h.
#include "kernels/rowwise.h"

namespace moxie::ops {

using Activation = kernels::Activation;

}  // namespace moxie::ops
