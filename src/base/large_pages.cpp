#include "base/large_pages.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <string>

#include "base/threads.h"

namespace moxie {
namespace {

// A mapping that begins at a multiple of a large page.
class Region {
 public:
  explicit Region(size_t bytes) : bytes_(bytes) {
    whole_ = ::mmap(nullptr, bytes + kLargePage, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (whole_ == MAP_FAILED) return;
    const auto at = reinterpret_cast<uintptr_t>(whole_);
    data_ = static_cast<std::byte*>(whole_) + (kLargePage - at % kLargePage) % kLargePage;
    ::madvise(data_, bytes, MADV_HUGEPAGE);
  }
  ~Region() {
    if (whole_ != MAP_FAILED) ::munmap(whole_, bytes_ + kLargePage);
  }
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  std::byte* data() const { return data_; }  // null: there is no such memory

 private:
  size_t bytes_;
  void* whole_;
  std::byte* data_ = nullptr;
};

bool read_all(int fd, std::byte* to, size_t bytes, uint64_t offset) {
  while (bytes > 0) {
    const ssize_t got = ::pread(fd, to, bytes, static_cast<off_t>(offset));
    if (got <= 0) return false;
    to += got;
    bytes -= static_cast<size_t>(got);
    offset += static_cast<uint64_t>(got);
  }
  return true;
}

}  // namespace

bool has_large_pages() {
  static const bool answer = [] {
    std::ifstream file("/sys/kernel/mm/transparent_hugepage/enabled");
    std::string choices;
    std::getline(file, choices);
    return choices.find("[madvise]") != std::string::npos ||
           choices.find("[always]") != std::string::npos;
  }();
  return answer;
}

std::shared_ptr<std::byte> large_memory(size_t bytes) {
  auto region = std::make_shared<Region>(bytes);
  std::byte* data = region->data();
  return data == nullptr ? nullptr : std::shared_ptr<std::byte>(std::move(region), data);
}

bool replace_by_large_pages(const std::byte* address, size_t bytes, int fd, uint64_t offset) {
  const Region fresh(bytes);
  if (fresh.data() == nullptr) return false;
  std::atomic<bool> is_read = true;
  parallel_for(static_cast<int64_t>(bytes / kLargePage), 1, [&](int64_t begin, int64_t end) {
    const auto first = static_cast<size_t>(begin) * kLargePage;
    const auto count = static_cast<size_t>(end - begin) * kLargePage;
    if (!read_all(fd, fresh.data() + first, count, offset + first)) is_read = false;
  });
  return is_read && ::mprotect(fresh.data(), bytes, PROT_READ) == 0 &&
         ::mremap(fresh.data(), bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED,
                  const_cast<std::byte*>(address)) != MAP_FAILED;
}

}  // namespace moxie
