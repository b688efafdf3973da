// The register tile is 14 x 32: 28 of the 32 registers hold sums, 2 a row of B; elements of A are
// broadcast by the multiply itself.
#ifndef MOXIE_SCALAR_ONLY
namespace moxie::kernels {
namespace {
constexpr int kVector = 64;
constexpr int kRows = 14;
}  // namespace
}  // namespace moxie::kernels

#include "kernels/micro_impl.h"

namespace moxie::kernels {
const Micro kMicroAvx512 = kTable;
}  // namespace moxie::kernels
#endif
