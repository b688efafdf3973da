#include "kernels/scratch.h"

#include <memory>
#include <new>

namespace moxie::kernels {
namespace {

constexpr std::align_val_t kAlignment{64};

struct Release {
  void operator()(float* memory) const { ::operator delete(memory, kAlignment); }
};

struct Slot {
  std::unique_ptr<float, Release> memory;
  size_t size = 0;
};

}  // namespace

float* scratch(Scratch slot, size_t floats) {
  thread_local Slot slots[static_cast<size_t>(Scratch::kCount)];
  Slot& mine = slots[static_cast<size_t>(slot)];
  if (floats > mine.size) {
    mine.memory.reset();
    mine.size = 0;
    mine.memory.reset(static_cast<float*>(::operator new(floats * sizeof(float), kAlignment)));
    mine.size = floats;
  }
  return mine.memory.get();
}

}  // namespace moxie::kernels
