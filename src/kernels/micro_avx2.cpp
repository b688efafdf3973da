// The register tile is 6 x 16: 12 of the 16 registers hold sums, 2 a row of B, 1 an element of A.
#ifndef MOXIE_SCALAR_ONLY
namespace moxie::kernels {
namespace {
constexpr int kVector = 32;
constexpr int kRows = 6;
}  // namespace
}  // namespace moxie::kernels

#include "kernels/micro_impl.h"

namespace moxie::kernels {
const Micro kMicroAvx2 = kTable;
}  // namespace moxie::kernels
#endif
