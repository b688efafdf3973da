#pragma once
// Memory a thread keeps between calls for packed operands: 64-byte aligned, grown on demand, never
// shared. Each use has a slot of its own, so nested kernels do not overwrite each other's.
#include <cstddef>

namespace moxie::kernels {

enum class Scratch {
  kRows,
  kPanels,
  kStrips,
  kTiles,
  kInt8Rows,
  kInt8Prepared,
  kInt8Panels,
  kCodes,
  kCount
};

// At least `floats` floats; the contents are unspecified, and lost at the slot's next call.
float* scratch(Scratch slot, size_t floats);

}  // namespace moxie::kernels
