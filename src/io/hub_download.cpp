#include "io/hub_download.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <thread>

#include "base/error.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mapped_file.h"

namespace moxie::io {
namespace fs = std::filesystem;
namespace {

constexpr double kLongestWait = 60;

bool is_hex(std::string_view text, size_t length) {
  return text.size() == length && std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return std::isdigit(c) != 0 || (c >= 'a' && c <= 'f');
         });
}

// W/"abc" and "abc" are abc.
std::string plain_etag(std::string text) {
  if (text.starts_with("W/")) text = text.substr(2);
  std::erase(text, '"');
  return text;
}

// The name git gives a file: SHA-1 over "blob <size>\0" and the content.
std::string git_blob_sha1(const fs::path& path) {
  const auto file = MappedFile::open(path);
  const std::string head = fmt::format("blob {}", file->bytes().size());
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned length = 0;
  const bool is_done = context != nullptr && EVP_DigestInit_ex(context, EVP_sha1(), nullptr) == 1 &&
                       EVP_DigestUpdate(context, head.c_str(), head.size() + 1) == 1 &&
                       EVP_DigestUpdate(context, file->bytes().data(), file->bytes().size()) == 1 &&
                       EVP_DigestFinal_ex(context, digest.data(), &length) == 1;
  EVP_MD_CTX_free(context);
  MOXIE_ASSERT(is_done);
  std::string text;
  for (unsigned i = 0; i < length; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

bool is_worth_a_retry(const HttpResponse& response) {
  return response.status == 0 || response.status == 429 || response.status / 100 == 5;
}

// Seconds that a decimal Retry-After asks for, 0 without one.
double retry_after(const HttpResponse& response) {
  const std::string text = response.header("retry-after");
  const bool is_number =
      !text.empty() && text.size() < 6 &&
      std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c); });
  return is_number ? std::stod(text) : 0;
}

uint64_t size_or_zero(const fs::path& path) {
  std::error_code failed;
  const auto size = fs::file_size(path, failed);
  return failed ? 0 : size;
}

// The file that grows. Opened lazily: the server's answer decides whether it goes on or starts
// anew.
class Part {
 public:
  explicit Part(fs::path path) : path_(std::move(path)) {}
  ~Part() {
    if (fd_ >= 0) ::close(fd_);
  }
  Part(const Part&) = delete;
  Part& operator=(const Part&) = delete;

  void open(bool goes_on) {
    const int flags = O_CREAT | O_WRONLY | O_CLOEXEC | O_NOFOLLOW | (goes_on ? O_APPEND : O_TRUNC);
    fd_ = ::open(path_.c_str(), flags, 0644);
    if (fd_ < 0) stop("create");
  }
  bool is_open() const { return fd_ >= 0; }
  void append(std::string_view piece) {
    while (!piece.empty()) {
      const ssize_t done = ::write(fd_, piece.data(), piece.size());
      if (done < 0 && errno == EINTR) continue;
      if (done < 0) stop("write");
      piece.remove_prefix(static_cast<size_t>(done));
    }
  }
  void sync() {
    if (::fsync(fd_) != 0) stop("sync");
  }

 private:
  [[noreturn]] void stop(const char* doing) const {
    fail(ErrorCode::kIo, "pull",
         "cannot {} '{}': {}; make room and pull again, it goes on from here", doing,
         path_.string(), std::strerror(errno));
  }
  fs::path path_;
  int fd_ = -1;
};

// One request for what is missing of `part`. Throws when the server sends more than it announced.
HttpResponse fetch_rest(HttpClient& client, const RemoteFile& file, const fs::path& path,
                        const std::function<bool(uint64_t)>& progress) {
  uint64_t have = size_or_zero(path);
  Part part(path);
  const auto sink = [&](const HttpResponse& head, std::string_view piece) {
    if (!part.is_open()) {
      const bool goes_on = head.status == 206 &&
                           head.header("content-range").starts_with(fmt::format("bytes {}-", have));
      if (head.status == 206 && !goes_on) {
        fail(ErrorCode::kNetwork, "pull",
             "the server answers bytes '{}' when asked for those from {}",
             head.header("content-range"), have);
      }
      if (!goes_on) have = 0;
      part.open(goes_on);
    }
    have += piece.size();
    if (file.has_size && have > file.size) {
      fail(ErrorCode::kNetwork, "pull", "the server sends more than the {} bytes of '{}'",
           file.size, file.name);
    }
    part.append(piece);
    if (!progress(have)) fail(ErrorCode::kInterrupted, "pull", "stopped; what came is kept");
  };
  auto response = client.download(file.url, have, sink, [&] { return progress(have); });
  if (response.status == 416) {  // more is here than there: not what we are after
    std::error_code ignored;
    fs::remove(path, ignored);
    response.status = 0;
    response.failure = "the part that was here did not fit and was dropped";
  }
  if (response.status / 100 == 2 && !part.is_open()) part.open(have > 0);  // an empty file
  if (part.is_open()) part.sync();
  return response;
}

}  // namespace

void refuse_response(const HttpResponse& response, const std::string& host,
                     const std::string& what) {
  const std::string code = response.header("x-error-code");
  const std::string said = response.header("x-error-message");
  const std::string detail = said.empty() ? "" : fmt::format(" (it says: {})", said);
  switch (response.status) {
    case 0:
      fail(ErrorCode::kNetwork, "pull",
           "no answer from {} for {}: {}; check the connection, or set HF_ENDPOINT to a mirror",
           host, what, response.failure);
    case 401:
      if (code == "RepoNotFound") {
        fail(ErrorCode::kNotFound, "pull",
             "{} has no {} for all to see; check the spelling, or set HF_TOKEN if it is private",
             host, what);
      }
      fail(ErrorCode::kNetwork, "pull",
           "{} wants a token for {} (401){}; set HF_TOKEN to one from the settings of your account",
           host, what, detail);
    case 403:
      fail(ErrorCode::kNetwork, "pull",
           "{} refuses {} (403){}; accept the model's terms on its page with the account of "
           "HF_TOKEN",
           host, what, detail);
    case 404:
      fail(ErrorCode::kNotFound, "pull",
           "{} has no {} (404){}; check the name, the revision, the file", host, what, detail);
    case 429:
      fail(ErrorCode::kNetwork, "pull",
           "{} has had too many requests from here (429); wait a few minutes, or set HF_TOKEN",
           host);
    default:
      fail(ErrorCode::kNetwork, "pull", "{} answers {} for {}{}; try again later", host,
           response.status, what, detail);
  }
}

HttpResponse with_retries(const PullOptions& options, const std::string& host,
                          const std::string& what, const std::function<HttpResponse()>& attempt) {
  double wait = options.retry_seconds;
  for (int retry = 0;; ++retry) {
    HttpResponse response = attempt();
    // A redirect is an answer too: where the Hub keeps a large file.
    if (response.status / 100 == 2 || response.status / 100 == 3) return response;
    if (!is_worth_a_retry(response) || retry >= options.retries)
      refuse_response(response, host, what);
    const double pause = std::min(std::max(wait, retry_after(response)), kLongestWait);
    spdlog::info(
        "[pull] {}: {}; again in {:.0f} s", what,
        response.status == 0 ? response.failure : fmt::format("status {}", response.status), pause);
    std::this_thread::sleep_for(std::chrono::duration<double>(pause));
    wait *= 2;
  }
}

RemoteFile describe_file(HttpClient& client, const PullOptions& options, const std::string& host,
                         const std::string& name, const std::string& url) {
  const auto response =
      with_retries(options, host, "'" + name + "'", [&] { return client.head(url); });
  RemoteFile file;
  file.name = name;
  file.url = url;
  const std::string linked = response.header("x-linked-etag");
  file.etag = plain_etag(linked.empty() ? response.header("etag") : linked);
  std::string size = response.header("x-linked-size");
  // The length of a redirect is that of its own body.
  if (size.empty() && response.status == 200) size = response.header("content-length");
  const char* end = size.data() + size.size();
  const auto parsed = std::from_chars(size.data(), end, file.size);
  file.has_size = !size.empty() && parsed.ec == std::errc() && parsed.ptr == end;
  return file;
}

bool has_content(const RemoteFile& file, const fs::path& path) {
  std::error_code failed;
  const auto size = fs::file_size(path, failed);
  if (failed || (file.has_size && size != file.size)) return false;
  if (is_hex(file.etag, 64)) return sha256_of_file(path) == file.etag;
  if (is_hex(file.etag, 40)) return git_blob_sha1(path) == file.etag;
  return file.has_size;
}

fs::path download_file(HttpClient& client, const PullOptions& options, const std::string& host,
                       const RemoteFile& file, const fs::path& target,
                       const std::function<bool(uint64_t)>& progress) {
  // The etag is part of the name: what is left of another version is never gone on with.
  const std::string version = sha256_hex(file.etag).substr(0, 12);
  fs::path part = target;
  part += "." + version + ".part";
  if (!(size_or_zero(part) == file.size && file.has_size && has_content(file, part))) {
    if (file.has_size && size_or_zero(part) >= file.size) fs::remove(part);
    with_retries(options, host, "'" + file.name + "'",
                 [&] { return fetch_rest(client, file, part, progress); });
  }
  if (has_content(file, part)) return part;
  const uint64_t size = size_or_zero(part);
  std::error_code ignored;
  fs::remove(part, ignored);
  fail(ErrorCode::kCorruptData, "pull",
       "what came for '{}' ({} bytes) does not match the checksum {} of {}; it was deleted: pull "
       "again, "
       "and if it happens twice the mirror is damaged",
       file.name, size, file.etag.empty() ? "(none)" : file.etag, host);
}

}  // namespace moxie::io
