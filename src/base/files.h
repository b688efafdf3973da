#pragma once
// Whole files, read with a limit and written so that a crash leaves the old or the new one, whole.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <ostream>
#include <span>
#include <string>
#include <string_view>

namespace moxie {

// The bytes of a text file; throws kNotFound, kIo, or kCorruptData above `limit` bytes.
std::string read_file(const std::filesystem::path& path, size_t limit = size_t{256} << 20);

// Writes to a temporary name in the same folder, syncs it, renames it over `path`, syncs the
// folder. On any failure the temporary is removed, `path` is as it was, and kIo says why (disk
// full...).
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();  // drops what was not committed
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  void write(const void* data, size_t size);
  void write(std::string_view text) { write(text.data(), text.size()); }
  void write_at(uint64_t offset, const void* data, size_t size);
  uint64_t position() const { return position_; }
  const std::filesystem::path& temporary() const { return temporary_; }  // what is written so far
  void commit();

 private:
  [[noreturn]] void stop(const char* doing);
  std::filesystem::path path_, temporary_;
  int fd_ = -1;
  uint64_t position_ = 0;
};

void write_file_atomically(const std::filesystem::path& path, std::string_view content);
void sync_folder(const std::filesystem::path& folder);
// True for the names AtomicFile gives its temporaries: orphans of a crash, safe to delete.
bool is_temporary_name(std::string_view file_name);

// $XDG_CACHE_HOME/moxie (else ~/.cache/moxie), $XDG_DATA_HOME/moxie (else ~/.local/share/moxie).
std::filesystem::path cache_folder();
std::filesystem::path data_folder();

}  // namespace moxie
