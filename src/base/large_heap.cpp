#include "base/large_heap.h"

#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdint>
#include <iterator>

#include "base/error.h"
#include "base/large_pages.h"

namespace moxie {
namespace {

constexpr size_t kAlignment = 64;

size_t rounded(size_t bytes, size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

bool memory_is_watched() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return true;
#elif defined(__has_feature)
  return __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
  return false;
#endif
}

bool address_space_is_limited() {
  rlimit limit{};
  return ::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur != RLIM_INFINITY;
}

}  // namespace

LargeHeap::LargeHeap(size_t most) {
  if (memory_is_watched() || !has_large_pages() || address_space_is_limited()) return;
  const size_t bytes = rounded(most, kLargePage) + kLargePage;
  // What cannot be written yet counts for no limit on memory.
  void* reserved =
      ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) return;
  ::madvise(reserved, bytes, MADV_HUGEPAGE);
  begin_ = static_cast<std::byte*>(reserved);
  end_ = begin_ + bytes;
  top_ = next_large_page(begin_);
}

LargeHeap::~LargeHeap() {
  if (begin_ != nullptr) ::munmap(begin_, static_cast<size_t>(end_ - begin_));
}

bool LargeHeap::owns(const void* block) const {
  return block >= begin_ && block < top_;
}

void* LargeHeap::take(size_t bytes) {
  const size_t size = rounded(std::max<size_t>(bytes, 1), kAlignment);
  auto found = smallest_of(size);
  if (found == free_.end()) {
    if (!grow(size)) return nullptr;
    found = smallest_of(size);
  }
  const auto [block, whole] = *found;
  free_.erase(found);
  if (whole > size) free_.emplace(block + size, whole - size);
  return block;
}

void LargeHeap::give_back(void* block, size_t bytes) {
  auto* begin = static_cast<std::byte*>(block);
  size_t size = rounded(std::max<size_t>(bytes, 1), kAlignment);
  MOXIE_ASSERT(owns(block) && begin + size <= top_);
  auto next = free_.lower_bound(begin);
  if (next != free_.end() && next->first == begin + size) {
    size += next->second;
    next = free_.erase(next);
  }
  if (next != free_.begin()) {
    auto& [before, its_size] = *std::prev(next);
    if (before + its_size == begin) {
      its_size += size;
      return;
    }
  }
  free_.emplace(begin, size);
}

LargeHeap::Ranges::iterator LargeHeap::smallest_of(size_t bytes) {
  auto best = free_.end();
  for (auto range = free_.begin(); range != free_.end(); ++range) {
    if (range->second >= bytes && (best == free_.end() || range->second < best->second))
      best = range;
  }
  return best;
}

bool LargeHeap::grow(size_t bytes) {
  size_t there = 0;
  if (!free_.empty()) {
    const auto& [last, size] = *free_.rbegin();
    if (last + size == top_) there = size;
  }
  const size_t more = rounded(bytes - there, kLargePage);
  if (begin_ == nullptr || more > static_cast<size_t>(end_ - top_)) return false;
  if (::mprotect(top_, more, PROT_READ | PROT_WRITE) != 0) return false;
  std::byte* added = top_;
  top_ += more;
  give_back(added, more);
  return true;
}

void LargeHeap::release() {
  for (const auto& [begin, size] : free_) {
    std::byte* first = next_large_page(begin);
    if (begin + size <= first) continue;
    const size_t whole = static_cast<size_t>(begin + size - first) / kLargePage * kLargePage;
    if (whole > 0) ::madvise(first, whole, MADV_DONTNEED);
  }
}

}  // namespace moxie
