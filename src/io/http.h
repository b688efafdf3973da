#pragma once
// One HTTP client (libcurl). Redirects are followed here and not by curl, so that the token goes to
// the origin (scheme, host, port) it was given for and to nothing a redirect points at; a redirect
// from https to http is refused. Nothing is retried: the caller knows what a retry means.
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>

namespace moxie::io {

struct HttpResponse {
  long status = 0;  // 0: no answer, and `failure` says why
  std::string failure;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;                            // of get()
  std::string header(const std::string& name) const;
};

// "https://host:443" of a URL; throws kInvalidArgument unless it is http or https.
std::string origin_of(const std::string& url);
std::string percent_encode(std::string_view text);  // all but letters, digits and -._~

class HttpClient {
 public:
  // `token` may be empty; it is sent as a bearer token to the origin of `endpoint` only.
  HttpClient(const std::string& endpoint, std::string token);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // Follows redirects within the endpoint's origin only: one that leaves it is the answer.
  HttpResponse head(const std::string& url);
  HttpResponse get(const std::string& url, size_t limit);
  // Hands over the body of a 200 or 206 piece by piece; `from` > 0 asks for the rest from there on.
  // What the sink throws passes through. `keep_going` is asked now and then, also when nothing
  // comes.
  using Sink = std::function<void(const HttpResponse& head, std::string_view piece)>;
  HttpResponse download(const std::string& url, uint64_t from, const Sink& sink,
                        const std::function<bool()>& keep_going);

 private:
  struct Call;
  HttpResponse run(std::string url, const Call& call);
  HttpResponse hop(const std::string& url, const Call& call);
  void* curl_;
  std::string origin_, token_;
};

}  // namespace moxie::io
