#include "io/source_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"

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

}  // namespace moxie::io
