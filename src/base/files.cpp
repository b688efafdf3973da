#include "base/files.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "base/error.h"

namespace moxie {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kTemporaryMark = ".moxie-tmp-";

fs::path home_based(const char* variable, const char* fallback) {
  if (const char* set = std::getenv(variable); set != nullptr && *set != 0) {
    return fs::path(set) / "moxie";
  }
  const char* home = std::getenv("HOME");
  return fs::path(home != nullptr ? home : "/tmp") / fallback / "moxie";
}

}  // namespace

std::string read_file(const fs::path& path, size_t limit) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    fail(ErrorCode::kInvalidArgument, "file", "'{}' is a folder, not a file", path.string());
  }
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  if (!in) {
    const int why = errno;
    fail(why == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo, "file", "cannot open '{}': {}",
         path.string(), std::strerror(why));
  }
  const auto size = static_cast<size_t>(in.tellg());
  if (size > limit) {
    fail(ErrorCode::kCorruptData, "file", "'{}' has {} bytes, more than the {} allowed here",
         path.string(), size, limit);
  }
  std::string content(size, '\0');
  in.seekg(0);
  if (!in.read(content.data(), static_cast<std::streamsize>(size))) {
    fail(ErrorCode::kIo, "file", "'{}' ended before its {} bytes were read", path.string(), size);
  }
  return content;
}

AtomicFile::AtomicFile(fs::path path) : path_(std::move(path)) {
  static std::atomic<unsigned> serial{0};
  temporary_ = path_;
  temporary_ += std::string(kTemporaryMark) + std::to_string(::getpid()) + "-" +
                std::to_string(serial.fetch_add(1));
  fd_ = ::open(temporary_.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
  if (fd_ < 0) stop("create");
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) {
    ::close(fd_);
    ::unlink(temporary_.c_str());
  }
}

void AtomicFile::stop(const char* doing) {
  const int why = errno;
  fail(ErrorCode::kIo, "file", "cannot {} '{}': {}; the file that was there before is untouched",
       doing, path_.string(), std::strerror(why));
}

void AtomicFile::write(const void* data, size_t size) {
  write_at(position_, data, size);
  position_ += size;
}

void AtomicFile::write_at(uint64_t offset, const void* data, size_t size) {
  const char* at = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t done = ::pwrite(fd_, at, size, static_cast<off_t>(offset));
    if (done < 0) {
      if (errno == EINTR) continue;
      stop("write");
    }
    at += done;
    offset += static_cast<uint64_t>(done);
    size -= static_cast<size_t>(done);
  }
}

void AtomicFile::commit() {
  if (::fsync(fd_) != 0) stop("sync");
  const int fd = std::exchange(fd_, -1);
  if (::close(fd) != 0 || ::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const int why = errno;
    ::unlink(temporary_.c_str());
    errno = why;
    stop("rename");
  }
  sync_folder(path_.parent_path());
}

void write_file_atomically(const fs::path& path, std::string_view content) {
  AtomicFile file(path);
  file.write(content);
  file.commit();
}

void sync_folder(const fs::path& folder) {
  const fs::path at = folder.empty() ? fs::path(".") : folder;
  const int fd = ::open(at.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) {
    fail(ErrorCode::kIo, "file", "cannot open the folder '{}': {}", at.string(),
         std::strerror(errno));
  }
  const int status = ::fsync(fd);
  const int why = errno;
  ::close(fd);
  // Some file systems cannot sync a folder and say so with EINVAL; the rename stands there anyway.
  if (status != 0 && why != EINVAL) {
    fail(ErrorCode::kIo, "file", "cannot sync the folder '{}': {}", at.string(),
         std::strerror(why));
  }
}

bool is_temporary_name(std::string_view file_name) {
  return file_name.find(kTemporaryMark) != std::string_view::npos;
}

fs::path cache_folder() {
  return home_based("XDG_CACHE_HOME", ".cache");
}
fs::path data_folder() {
  return home_based("XDG_DATA_HOME", ".local/share");
}

}  // namespace moxie
