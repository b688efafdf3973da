#pragma once
// One file of the Hub: what it should be, and getting it, going on where an earlier try stopped.
#include <filesystem>
#include <functional>
#include <string>

#include "io/http.h"
#include "io/hub.h"

namespace moxie::io {

struct RemoteFile {
  std::string name, url;
  std::string etag;  // as stated: 64 hex digits are a SHA-256, 40 a git blob's SHA-1
  uint64_t size = 0;
  bool has_size = false;
};

// Throws what the Hub's refusal means: kNotFound, or kNetwork with the fix.
[[noreturn]] void refuse_response(const HttpResponse& response, const std::string& host,
                                  const std::string& what);

// Runs `attempt`, again after a broken connection or an overloaded server, and returns its answer;
// any other refusal is thrown.
HttpResponse with_retries(const PullOptions& options, const std::string& host,
                          const std::string& what, const std::function<HttpResponse()>& attempt);

// What the endpoint says of a file.
RemoteFile describe_file(HttpClient& client, const PullOptions& options, const std::string& host,
                         const std::string& name, const std::string& url);

// True when the file at `path` is this one. Files without a usable checksum are compared by size.
bool has_content(const RemoteFile& file, const std::filesystem::path& path);

// Fetches into <target>.<etag>.part, verifies, syncs and returns that path. `progress` gets the
// bytes that are there. A file that does not match is deleted: kCorruptData.
std::filesystem::path download_file(HttpClient& client, const PullOptions& options,
                                    const std::string& host, const RemoteFile& file,
                                    const std::filesystem::path& target,
                                    const std::function<bool(uint64_t)>& progress);

}  // namespace moxie::io
