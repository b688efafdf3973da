#pragma once
// The bytes of a data file, streamed: one buffer, whatever the file's size. Knows the line it is
// at. A byte-order mark of UTF-8 is skipped; one of UTF-16 is an error that says so.
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace moxie::data {

// Longest line, row, array element or paragraph that is read (T8).
constexpr size_t kMaxRecordBytes = size_t{16} << 20;

class ByteSource {
 public:
  static constexpr int kEnd = -1;
  explicit ByteSource(const std::filesystem::path& path);    // throws kNotFound, kIo
  explicit ByteSource(std::string bytes, std::string name);  // of memory, for tests and fuzzing

  int peek() {
    return cursor_ < limit_ || refill() ? static_cast<unsigned char>(data_[cursor_]) : kEnd;
  }
  int get() {
    const int byte = peek();
    if (byte == kEnd) return byte;
    ++cursor_;
    if (byte == '\n') ++line_;
    return byte;
  }
  // The next line into `line`, without its end; false at the end of the file. A line longer than
  // kMaxRecordBytes is read over, not stored, and leaves is_too_long true.
  bool read_line(std::string& line, bool& is_too_long);
  int64_t line() const { return line_; }  // of the next byte, from 1
  const std::string& name() const { return name_; }
  std::string at(int64_t line) const;  // "name:line"

 private:
  bool refill();
  void skip_mark();

  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::unique_ptr<std::FILE, Close> file_;
  std::string name_;
  std::vector<char> data_;
  size_t cursor_ = 0, limit_ = 0;
  int64_t line_ = 1;
};

}  // namespace moxie::data
