#pragma once
// A model file, mapped, that can tell whether somebody cut it short since (rule S8): reading a
// mapping beyond the end of its file would kill the process, so whoever is about to read asks
// first.
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <span>

#include "base/mapped_file.h"

namespace moxie::io {

class SourceFile {
 public:
  static std::shared_ptr<const SourceFile> open(const std::filesystem::path& path);
  ~SourceFile();
  SourceFile(const SourceFile&) = delete;
  SourceFile& operator=(const SourceFile&) = delete;

  std::span<const std::byte> bytes() const { return mapping_->bytes(); }
  void require_whole() const;  // throws kCorruptData when the file is shorter than it was
  // Puts about 1/shares of the file, from where the last call ended, in memory of large pages that
  // takes the mapping's place (base/large_pages.h). False: there is nothing left to do, or it
  // cannot be done. Others may read bytes() meanwhile.
  bool settle(uint64_t shares) const;

 private:
  SourceFile(std::shared_ptr<const MappedFile> mapping, int fd)
      : mapping_(std::move(mapping)), fd_(fd) {}
  std::shared_ptr<const MappedFile> mapping_;
  int fd_;
  mutable std::mutex guard_;
  mutable uint64_t settled_ = 0;  // bytes of the file that need no more
};

}  // namespace moxie::io
