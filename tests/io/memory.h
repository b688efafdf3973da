#pragma once
// Counts what operator new hands out, so that a test can say how much a reader took at its peak.
// To be included by exactly one file of a binary: it replaces the global operators.
#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <new>

namespace moxie::io {

inline std::atomic<int64_t> live_heap{0}, peak_heap{0};

inline void* counted_new(size_t size) {
  void* memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) throw std::bad_alloc();
  const int64_t live = live_heap += static_cast<int64_t>(malloc_usable_size(memory));
  int64_t peak = peak_heap;
  while (live > peak && !peak_heap.compare_exchange_weak(peak, live)) {
  }
  return memory;
}

inline void counted_delete(void* memory) noexcept {
  if (memory == nullptr) return;
  live_heap -= static_cast<int64_t>(malloc_usable_size(memory));
  std::free(memory);
}

// The most that `f` held on the heap beyond what was held before.
template <class F>
int64_t peak_heap_of(F&& f) {
  const int64_t before = live_heap;
  peak_heap = before;
  f();
  return peak_heap - before;
}

}  // namespace moxie::io

void* operator new(size_t size) {
  return moxie::io::counted_new(size);
}
void* operator new[](size_t size) {
  return moxie::io::counted_new(size);
}
// Algorithms of the standard library ask for temporary memory this way.
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  try {
    return moxie::io::counted_new(size);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void operator delete(void* memory) noexcept {
  moxie::io::counted_delete(memory);
}
void operator delete[](void* memory) noexcept {
  moxie::io::counted_delete(memory);
}
void operator delete(void* memory, size_t) noexcept {
  moxie::io::counted_delete(memory);
}
void operator delete[](void* memory, size_t) noexcept {
  moxie::io::counted_delete(memory);
}
