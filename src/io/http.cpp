#include "io/http.h"

#include <curl/curl.h>

#include <algorithm>
#include <cctype>
#include <exception>
#include <memory>
#include <mutex>

#include "base/error.h"

namespace moxie::io {
namespace {

constexpr int kMaxRedirects = 8;
constexpr size_t kMaxHeaders = 256;
constexpr long kConnectSeconds = 20;
constexpr long kStallSeconds = 60;  // without a byte: the connection counts as broken

struct UrlDeleter {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
using Url = std::unique_ptr<CURLU, UrlDeleter>;

Url parse_url(const std::string& text) {
  Url url(curl_url());
  if (url == nullptr || curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK) {
    fail(ErrorCode::kInvalidArgument, "http", "'{}' is not an address", text);
  }
  return url;
}

std::string part(const Url& url, CURLUPart which) {
  char* text = nullptr;
  if (curl_url_get(url.get(), which, &text, CURLU_DEFAULT_PORT) != CURLUE_OK) return "";
  std::string out(text);
  curl_free(text);
  return out;
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

bool is_redirect(long status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

// What curl's callbacks write to. Exceptions wait here until curl has returned.
struct Transfer {
  HttpResponse response;
  const HttpClient::Sink* sink = nullptr;
  const std::function<bool()>* keep_going = nullptr;
  size_t limit = 0;
  std::exception_ptr thrown;
};

size_t on_header(const char* data, size_t, size_t size, void* target) {
  auto& response = static_cast<Transfer*>(target)->response;
  std::string line(data, size);
  while (!line.empty() && std::isspace(static_cast<unsigned char>(line.back())) != 0)
    line.pop_back();
  if (line.starts_with("HTTP/"))
    response.headers.clear();  // after a 100 Continue or a proxy's answer
  const auto colon = line.find(':');
  if (colon == std::string::npos) return size;
  const auto begin = line.find_first_not_of(" \t", colon + 1);
  if (response.headers.size() >= kMaxHeaders) return 0;
  response.headers[lower(line.substr(0, colon))] =
      begin == std::string::npos ? "" : line.substr(begin);
  return size;
}

size_t on_body(const char* data, size_t, size_t size, void* target) {
  auto& transfer = *static_cast<Transfer*>(target);
  auto& response = transfer.response;
  if (response.status / 100 != 2) return size;  // pages for people: not read
  if (transfer.sink == nullptr) {
    if (response.body.size() + size > transfer.limit) return 0;
    response.body.append(data, size);
    return size;
  }
  try {
    (*transfer.sink)(response, {data, size});
    return size;
  } catch (...) {
    transfer.thrown = std::current_exception();
    return 0;
  }
}

int on_progress(void* target, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  auto& transfer = *static_cast<Transfer*>(target);
  if (transfer.keep_going == nullptr || *transfer.keep_going == nullptr) return 0;
  try {
    return (*transfer.keep_going)() ? 0 : 1;
  } catch (...) {
    transfer.thrown = std::current_exception();
    return 1;
  }
}

}  // namespace

struct HttpClient::Call {
  bool is_head = false;
  bool leaves_origin = true;  // may follow a redirect to another host
  uint64_t from = 0;
  size_t limit = 0;
  const Sink* sink = nullptr;
  const std::function<bool()>* keep_going = nullptr;
};

std::string HttpResponse::header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? "" : found->second;
}

std::string origin_of(const std::string& url) {
  const Url parsed = parse_url(url);
  const std::string scheme = lower(part(parsed, CURLUPART_SCHEME));
  if (scheme != "http" && scheme != "https") {
    fail(ErrorCode::kInvalidArgument, "http", "'{}' must begin with https:// or http://", url);
  }
  return scheme + "://" + lower(part(parsed, CURLUPART_HOST)) + ":" + part(parsed, CURLUPART_PORT);
}

std::string percent_encode(std::string_view text) {
  std::string out;
  for (const unsigned char c : text) {
    const bool is_plain = std::isalnum(c) != 0 || c == '-' || c == '.' || c == '_' || c == '~';
    out += c < 0x80 && is_plain ? std::string(1, static_cast<char>(c)) : fmt::format("%{:02X}", c);
  }
  return out;
}

HttpClient::HttpClient(const std::string& endpoint, std::string token)
    : origin_(origin_of(endpoint)), token_(std::move(token)) {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  const auto is_odd = [](unsigned char c) { return c <= 0x20 || c >= 0x7F; };
  if (std::any_of(token_.begin(), token_.end(), is_odd)) {
    fail(ErrorCode::kInvalidArgument, "http", "the token holds a space or a control character");
  }
  curl_ = curl_easy_init();
  MOXIE_ASSERT(curl_ != nullptr);
}

HttpClient::~HttpClient() {
  curl_easy_cleanup(static_cast<CURL*>(curl_));
}

HttpResponse HttpClient::hop(const std::string& url, const Call& call) {
  CURL* curl = static_cast<CURL*>(curl_);
  curl_easy_reset(curl);
  Transfer transfer;
  transfer.sink = call.sink;
  transfer.keep_going = call.keep_going;
  transfer.limit = call.limit;
  curl_slist* headers = nullptr;
  if (!token_.empty() && origin_of(url) == origin_) {
    headers = curl_slist_append(headers, ("Authorization: Bearer " + token_).c_str());
  }
  const std::string range = std::to_string(call.from) + "-";
  char reason[CURL_ERROR_SIZE] = {};
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(curl, CURLOPT_NOBODY, call.is_head ? 1L : 0L);
  if (call.from > 0) curl_easy_setopt(curl, CURLOPT_RANGE, range.c_str());
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "moxie");
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, kStallSeconds);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, reason);
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &transfer);
  // The body's callback needs the status, which curl knows by then.
  struct Both {
    Transfer* transfer;
    CURL* curl;
  } both{&transfer, curl};
  const auto body = +[](const char* data, size_t one, size_t size, void* target) -> size_t {
    auto* at = static_cast<Both*>(target);
    curl_easy_getinfo(at->curl, CURLINFO_RESPONSE_CODE, &at->transfer->response.status);
    return on_body(data, one, size, at->transfer);
  };
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &both);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &transfer);
  const CURLcode code = curl_easy_perform(curl);
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &transfer.response.status);
  curl_slist_free_all(headers);
  if (transfer.thrown) std::rethrow_exception(transfer.thrown);
  if (code == CURLE_ABORTED_BY_CALLBACK) {
    fail(ErrorCode::kInterrupted, "http", "the transfer was stopped; what came is kept");
  }
  if (code != CURLE_OK) {
    transfer.response.status = 0;
    transfer.response.failure = reason[0] != 0 ? reason : curl_easy_strerror(code);
  }
  return std::move(transfer.response);
}

HttpResponse HttpClient::run(std::string url, const Call& call) {
  for (int i = 0; i <= kMaxRedirects; ++i) {
    HttpResponse response = hop(url, call);
    const std::string location = response.header("location");
    if (!is_redirect(response.status) || location.empty()) return response;
    const Url base = parse_url(url);
    if (curl_url_set(base.get(), CURLUPART_URL, location.c_str(), 0) != CURLUE_OK) {
      fail(ErrorCode::kNetwork, "http", "'{}' redirects to '{}', which is no address", url,
           location);
    }
    std::string next = part(base, CURLUPART_URL);
    const std::string origin = origin_of(next);
    if (!call.leaves_origin && origin != origin_) return response;
    if (url.starts_with("https:") && !origin.starts_with("https:")) {
      fail(ErrorCode::kNetwork, "http", "'{}' redirects to unencrypted '{}'; refused", url, next);
    }
    url = std::move(next);
  }
  fail(ErrorCode::kNetwork, "http", "'{}' is the last of more than {} redirects", url,
       kMaxRedirects);
}

HttpResponse HttpClient::head(const std::string& url) {
  return run(url, {.is_head = true, .leaves_origin = false});
}

HttpResponse HttpClient::get(const std::string& url, size_t limit) {
  return run(url, {.limit = limit});
}

HttpResponse HttpClient::download(const std::string& url, uint64_t from, const Sink& sink,
                                  const std::function<bool()>& keep_going) {
  return run(url, {.from = from, .sink = &sink, .keep_going = &keep_going});
}

}  // namespace moxie::io
