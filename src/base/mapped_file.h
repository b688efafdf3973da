#pragma once
// A file mapped read-only for its lifetime. Shared by pointer: tensors keep it alive.
#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>

namespace moxie {

class MappedFile {
 public:
  // Throws kNotFound, kIo, or kInvalidArgument for anything but a regular file.
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }

 private:
  MappedFile(std::filesystem::path path, const std::byte* data, size_t size)
      : path_(std::move(path)), data_(data), size_(size) {}
  std::filesystem::path path_;
  const std::byte* data_;
  size_t size_;
};

}  // namespace moxie
