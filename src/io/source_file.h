#pragma once
// A model file, mapped, that can tell whether somebody cut it short since (rule S8): reading a
// mapping beyond the end of its file would kill the process, so whoever is about to read asks
// first.
#include <filesystem>
#include <memory>
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

 private:
  SourceFile(std::shared_ptr<const MappedFile> mapping, int fd)
      : mapping_(std::move(mapping)), fd_(fd) {}
  std::shared_ptr<const MappedFile> mapping_;
  int fd_;
};

}  // namespace moxie::io
