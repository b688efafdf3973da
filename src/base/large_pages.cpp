#include "base/large_pages.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <string>

#include "base/error.h"
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
    data_ = next_large_page(static_cast<std::byte*>(whole_));
    ::madvise(data_, bytes, MADV_HUGEPAGE);
  }
  ~Region() {
    if (whole_ == MAP_FAILED) return;
    if (!has_moved_) {
      ::munmap(whole_, bytes_ + kLargePage);
      return;
    }
    // Others may have got the addresses in between already.
    std::byte* begin = static_cast<std::byte*>(whole_);
    std::byte* end = begin + bytes_ + kLargePage;
    if (data_ > begin) ::munmap(begin, static_cast<size_t>(data_ - begin));
    ::munmap(data_ + bytes_, static_cast<size_t>(end - (data_ + bytes_)));
  }
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  std::byte* data() const { return data_; }  // null: there is no such memory
  // Takes the place of what is mapped at `address`, for reading alone.
  bool move_to(std::byte* address) {
    has_moved_ =
        ::mprotect(data_, bytes_, PROT_READ) == 0 &&
        ::mremap(data_, bytes_, bytes_, MREMAP_MAYMOVE | MREMAP_FIXED, address) != MAP_FAILED;
    return has_moved_;
  }

 private:
  size_t bytes_;
  void* whole_;
  std::byte* data_ = nullptr;
  bool has_moved_ = false;
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
  if (data == nullptr) fail(ErrorCode::kIo, "memory", "cannot get {} bytes", bytes);
  return {std::move(region), data};
}

bool replace_by_large_pages(const std::byte* address, size_t bytes, int fd, uint64_t offset) {
  if (!has_large_pages()) return false;
  Region fresh(bytes);
  if (fresh.data() == nullptr) return false;
  std::atomic<bool> is_read = true;
  parallel_for(static_cast<int64_t>(bytes / kLargePage), 1, [&](int64_t begin, int64_t end) {
    const auto first = static_cast<size_t>(begin) * kLargePage;
    const auto count = static_cast<size_t>(end - begin) * kLargePage;
    if (!read_all(fd, fresh.data() + first, count, offset + first)) is_read = false;
  });
  return is_read && fresh.move_to(const_cast<std::byte*>(address));
}

}  // namespace moxie
