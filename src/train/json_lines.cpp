#include "train/json_lines.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/files.h"

namespace moxie::train {
namespace {

constexpr size_t kLargestLog = size_t{4} << 30;

bool belongs(std::string_view line, int64_t keep_until) {
  const Json object = Json::parse(line, nullptr, false);
  if (!object.is_object()) return false;
  const auto step = object.find("step");
  return step != object.end() && step->is_number_integer() && step->get<int64_t>() <= keep_until;
}

void cut(const std::filesystem::path& path, int64_t keep_until) {
  if (!std::filesystem::exists(path)) return;
  const std::string content = read_file(path, kLargestLog);
  std::string kept;
  for (size_t begin = 0; begin < content.size();) {
    const size_t end = content.find('\n', begin);
    if (end == std::string::npos) break;
    const std::string_view line(content.data() + begin, end - begin);
    if (belongs(line, keep_until)) kept.append(line).push_back('\n');
    begin = end + 1;
  }
  if (kept != content) write_file_atomically(path, kept);
}

}  // namespace

JsonLines::JsonLines(std::filesystem::path path, int64_t keep_until) : path_(std::move(path)) {
  cut(path_, keep_until);
  fd_ = ::open(path_.c_str(), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0644);
  if (fd_ < 0) stop("open");
}

JsonLines::~JsonLines() {
  ::close(fd_);
}

void JsonLines::stop(const char* doing) const {
  fail(ErrorCode::kIo, "train",
       "cannot {} '{}': {}; free some space or choose another folder, then "
       "go on with --resume",
       doing, path_.string(), std::strerror(errno));
}

void JsonLines::append(const Json& object) {
  const std::string line = object.dump() + "\n";
  for (size_t done = 0; done < line.size();) {
    const ssize_t wrote = ::write(fd_, line.data() + done, line.size() - done);
    if (wrote < 0) {
      if (errno == EINTR) continue;
      stop("write");
    }
    done += static_cast<size_t>(wrote);
  }
}

void JsonLines::sync() {
  if (::fsync(fd_) != 0) stop("sync");
}

}  // namespace moxie::train
