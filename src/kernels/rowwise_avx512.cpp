#ifndef MOXIE_SCALAR_ONLY
namespace moxie::kernels {
namespace {
constexpr int kVector = 64;
}  // namespace
}  // namespace moxie::kernels

#include "kernels/rowwise_impl.h"

namespace moxie::kernels {
const RowKernels<float> kRowsAvx512 = kTable;
}  // namespace moxie::kernels
#endif
