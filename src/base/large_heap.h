#pragma once
// A heap for blocks that come and go, side by side in pages of 2 MiB (large_pages.h). What a step
// of training writes and reads is hundreds of MiB, and to look up where pages of 4 KiB lie took a
// tenth of its time on an Intel; under the usual heap a large page lies only where a block covers
// all of it.
// Not for several threads at once.
#include <cstddef>
#include <map>

namespace moxie {

class LargeHeap {
 public:
  // Blocks come from `most` bytes of the address space, of which no more is taken from the system
  // than has been given out at a time. Gives nothing where there are no large pages, where the
  // address space is limited (RLIMIT_AS) and to a build that watches memory by itself (ASan, TSan).
  explicit LargeHeap(size_t most);
  LargeHeap(const LargeHeap&) = delete;
  LargeHeap& operator=(const LargeHeap&) = delete;
  ~LargeHeap();

  // Uncleared memory, aligned to 64 bytes; null: this heap has none.
  void* take(size_t bytes);
  void give_back(void* block, size_t bytes);  // as many as were asked for
  bool owns(const void* block) const;
  void release();  // gives the system the large pages that no block lies in

 private:
  using Ranges = std::map<std::byte*, size_t>;

  Ranges::iterator smallest_of(size_t bytes);  // that holds as many, or the end
  bool grow(size_t bytes);                     // until that many are free at the end

  std::byte* begin_ = nullptr;  // of what is reserved; null: nothing
  std::byte* end_ = nullptr;
  std::byte* top_ = nullptr;  // of what can be written
  Ranges free_;               // no two touch
};

}  // namespace moxie
