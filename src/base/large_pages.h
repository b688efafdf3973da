#pragma once
// Memory in pages of 2 MiB. What is read over and over from one end to the other, as weights are in
// decoding, comes faster from them: there is less to look up, and the CPU's prefetchers, which stop
// at the end of a page, run on. Only where the system gives such pages to who asks
// (transparent_hugepage: madvise or always), else nothing here does anything.
#include <cstddef>
#include <cstdint>
#include <memory>

namespace moxie {

inline constexpr size_t kLargePage = size_t{2} << 20;

bool has_large_pages();

// The first large page from `at` on.
inline std::byte* next_large_page(std::byte* at) {
  return at + (kLargePage - reinterpret_cast<uintptr_t>(at) % kLargePage) % kLargePage;
}

// Cleared memory, in large pages where there are any. Throws kIo when memory is out.
std::shared_ptr<std::byte> large_memory(size_t bytes);

// Puts `bytes` of file fd from `offset` on in the place of what is mapped, read-only, at `address`;
// it and `bytes` are multiples of a large page. Who reads there meanwhile reads the one or the
// other. False: nothing has changed, since there are no such pages, or memory or the file was too
// short.
bool replace_by_large_pages(const std::byte* address, size_t bytes, int fd, uint64_t offset);

}  // namespace moxie
