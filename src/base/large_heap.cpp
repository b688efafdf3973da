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
  top_ = begin_ + (kLargePage - reinterpret_cast<uintptr_t>(begin_) % kLargePage) % kLargePage;
}

LargeHeap::~LargeHeap() {
  if (begin_ != nullptr) ::munmap(begin_, static_cast<size_t>(end_ - begin_));
}

bool LargeHeap::owns(const void* block) const {
  return block >= begin_ && block < top_;
}

void LargeHeap::add_free(std::byte* begin, size_t bytes) {
  free_.emplace(begin, bytes);
  by_size_.emplace(bytes, begin);
}

void LargeHeap::remove_free(std::byte* begin, size_t bytes) {
  free_.erase(begin);
  by_size_.erase({bytes, begin});
}

void* LargeHeap::take(size_t bytes) {
  const size_t size = rounded(std::max<size_t>(bytes, 1), kAlignment);
  auto found = by_size_.lower_bound({size, nullptr});
  if (found == by_size_.end()) {
    if (!grow(size)) return nullptr;
    found = by_size_.lower_bound({size, nullptr});
  }
  const auto [whole, block] = *found;
  remove_free(block, whole);
  if (whole > size) add_free(block + size, whole - size);
  return block;
}

void LargeHeap::give_back(void* block, size_t bytes) {
  auto* begin = static_cast<std::byte*>(block);
  size_t size = rounded(std::max<size_t>(bytes, 1), kAlignment);
  MOXIE_ASSERT(owns(block) && begin + size <= top_);
  const auto next = free_.lower_bound(begin);
  if (next != free_.end() && next->first == begin + size) {
    const auto [after, more] = *next;
    remove_free(after, more);
    size += more;
  }
  const auto place = free_.lower_bound(begin);
  if (place != free_.begin()) {
    const auto [before, less] = *std::prev(place);
    if (before + less == begin) {
      remove_free(before, less);
      begin = before;
      size += less;
    }
  }
  add_free(begin, size);
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
  std::byte* begin = top_ - there;
  if (there > 0) remove_free(begin, there);
  top_ += more;
  add_free(begin, there + more);
  return true;
}

void LargeHeap::release() {
  for (const auto& [begin, size] : free_) {
    const auto at = reinterpret_cast<uintptr_t>(begin);
    const uintptr_t first = rounded(at, kLargePage);
    const uintptr_t last = (at + size) / kLargePage * kLargePage;
    if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
  }
}

}  // namespace moxie
