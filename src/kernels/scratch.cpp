#include "kernels/scratch.h"

#include <new>

namespace moxie::kernels {
namespace {

constexpr std::align_val_t kAlignment{64};

struct Slot {
  std::unique_ptr<float, FreeAligned> memory;
  size_t size = 0;
};

}  // namespace

void FreeAligned::operator()(void* memory) const {
  ::operator delete(memory, kAlignment);
}

std::unique_ptr<float, FreeAligned> aligned_floats(size_t count) {
  return std::unique_ptr<float, FreeAligned>(
      static_cast<float*>(::operator new(count * sizeof(float), kAlignment)));
}

float* scratch(Scratch slot, size_t floats) {
  thread_local Slot slots[static_cast<size_t>(Scratch::kCount)];
  Slot& mine = slots[static_cast<size_t>(slot)];
  if (floats > mine.size) {
    mine.memory.reset();
    mine.size = 0;
    mine.memory = aligned_floats(floats);
    mine.size = floats;
  }
  return mine.memory.get();
}

}  // namespace moxie::kernels
