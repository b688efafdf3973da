#include "data/source.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace moxie::data {
namespace {
constexpr size_t kBufferBytes = size_t{256} << 10;
}

ByteSource::ByteSource(const std::filesystem::path& path) : name_(path.string()) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    fail(ErrorCode::kInvalidArgument, name_, "this is a folder; give the data file inside it");
  }
  file_.reset(std::fopen(path.c_str(), "rb"));
  if (!file_) {
    fail(errno == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo, name_,
         "cannot open the data file: {}; check the path and its permissions", std::strerror(errno));
  }
  data_.resize(kBufferBytes);
  skip_mark();
}

ByteSource::ByteSource(std::string bytes, std::string name)
    : name_(std::move(name)), data_(bytes.begin(), bytes.end()), limit_(data_.size()) {
  skip_mark();
}

bool ByteSource::refill() {
  if (!file_) return false;
  cursor_ = 0;
  limit_ = std::fread(data_.data(), 1, data_.size(), file_.get());
  if (limit_ == 0 && std::ferror(file_.get()) != 0) {
    fail(ErrorCode::kIo, at(line_), "reading failed: {}", std::strerror(errno));
  }
  return limit_ > 0;
}

void ByteSource::skip_mark() {
  if (peek() == kEnd) return;
  const std::string_view start(data_.data(), std::min<size_t>(limit_, 3));
  if (start.starts_with("\xEF\xBB\xBF")) cursor_ += 3;
  if (start.starts_with("\xFF\xFE") || start.starts_with("\xFE\xFF")) {
    fail(ErrorCode::kCorruptData, name_, "the file is UTF-16; save it as UTF-8");
  }
}

bool ByteSource::read_line(std::string& line, bool& is_too_long) {
  line.clear();
  is_too_long = false;
  if (peek() == kEnd) return false;
  bool is_open = true;
  while (is_open && peek() != kEnd) {
    const char* begin = data_.data() + cursor_;
    const size_t left = limit_ - cursor_;
    const void* newline = std::memchr(begin, '\n', left);
    const size_t size =
        newline ? static_cast<size_t>(static_cast<const char*>(newline) - begin) : left;
    if (line.size() + size > kMaxRecordBytes) is_too_long = true;
    if (!is_too_long) line.append(begin, size);
    cursor_ += size + (newline ? 1 : 0);
    is_open = newline == nullptr;
    if (newline) ++line_;
  }
  if (!line.empty() && line.back() == '\r') line.pop_back();
  return true;
}

std::string ByteSource::at(int64_t line) const {
  return fmt::format("{}:{}", name_, line);
}

}  // namespace moxie::data
