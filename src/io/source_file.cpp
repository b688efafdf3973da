#include "io/source_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/large_pages.h"

namespace moxie::io {

std::shared_ptr<const SourceFile> SourceFile::open(const std::filesystem::path& path) {
  auto mapping = MappedFile::open(path);
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    fail(ErrorCode::kIo, "file", "cannot open '{}': {}", path.string(), std::strerror(errno));
  }
  return std::shared_ptr<const SourceFile>(new SourceFile(std::move(mapping), fd));
}

SourceFile::~SourceFile() {
  ::close(fd_);
}

void SourceFile::require_whole() const {
  struct stat info {};
  const auto mapped = bytes().size();
  if (::fstat(fd_, &info) == 0 && static_cast<size_t>(info.st_size) >= mapped) return;
  fail(
      ErrorCode::kCorruptData, "file",
      "'{}' had {} bytes when it was opened and has {} now: something cut it short; restore it and "
      "load it again",
      mapping_->path().string(), mapped, info.st_size);
}

bool SourceFile::settle(uint64_t shares) const {
  const std::lock_guard<std::mutex> lock(guard_);
  const auto all = bytes();
  const auto offset_of_page = reinterpret_cast<uintptr_t>(all.data()) % kLargePage;
  if (settled_ == 0) settled_ = (kLargePage - offset_of_page) % kLargePage;  // the first whole one
  if (settled_ + kLargePage > all.size()) return false;
  const uint64_t share = (all.size() / shares / kLargePage + 1) * kLargePage;
  const uint64_t left = (all.size() - settled_) / kLargePage * kLargePage;
  const uint64_t count = std::min(share, left);
  const bool is_done = replace_by_large_pages(all.data() + settled_, count, fd_, settled_);
  settled_ = is_done ? settled_ + count : all.size();
  return is_done;
}

}  // namespace moxie::io
