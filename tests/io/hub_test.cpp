// pull against a server that speaks the Hub's API: what goes right, and each way it can go wrong.
#include "io/hub.h"

#include <openssl/sha.h>

#include <cstdlib>
#include <optional>

#include "base/hash.h"
#include "bytes.h"
#include "http_server.h"
#include "io/http.h"

namespace moxie::io {
namespace {
namespace fs = std::filesystem;

std::string git_sha1(const std::string& content) {
  const std::string blob =
      "blob " + std::to_string(content.size()) + std::string(1, '\0') + content;
  unsigned char digest[SHA_DIGEST_LENGTH];
  ::SHA1(reinterpret_cast<const unsigned char*>(blob.data()), blob.size(), digest);
  std::string text;
  for (const unsigned char byte : digest) text += fmt::format("{:02x}", byte);
  return text;
}

TestAnswer slice(const TestRequest& request, const std::string& body) {
  const std::string range = request.header("range");
  if (range.empty()) return {.body = body};
  const size_t from = std::stoul(range.substr(6));
  if (from >= body.size()) return {.status = 416};
  return {.status = 206,
          .headers = {{"Content-Range",
                       fmt::format("bytes {}-{}/{}", from, body.size() - 1, body.size())}},
          .body = body.substr(from)};
}

// The Hub and the store that large files are redirected to.
class Hub : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const auto* name : {"http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"})
      ::unsetenv(name);
    for (const auto* name : {"HF_TOKEN", "HF_ENDPOINT"}) ::unsetenv(name);
    files_ = {{"config.json", "{\"model_type\": \"llama\"}"},
              {"model.safetensors", std::string(100'000, 'w')},
              {"pytorch_model.bin", "pickle"},
              {"README.md", "words"},
              {"tokenizer.json", "{}"}};
    large_ = {"model.safetensors"};
    options_.folder = folder_ / "models";
    options_.endpoint = hub_.url();
    options_.retry_seconds = 0;
  }

  TestAnswer answer_hub(const TestRequest& request) {
    if (!token_.empty() && request.header("authorization") != "Bearer " + token_) {
      return {.status = 401};
    }
    const std::string api = "/api/models/me/tiny/revision/";
    if (request.target.starts_with(api)) {
      const std::string revision = request.target.substr(api.size());
      if (revision != "main" && revision != "v1") {
        return {.status = 404,
                .headers = {{"X-Error-Code", "RevisionNotFound"},
                            {"X-Error-Message", "Invalid rev id: " + revision}}};
      }
      std::string siblings;
      for (const auto& [name, content] : files_) {
        siblings += fmt::format("{}{{\"rfilename\":\"{}\"}}", siblings.empty() ? "" : ",", name);
      }
      return {.body = fmt::format(R"({{"id":"me/tiny","sha":"{}","siblings":[{}]}})",
                                  revision == "v1" ? "aaa1" : commit_, siblings)};
    }
    const std::string resolve = "/me/tiny/resolve/";
    if (!request.target.starts_with(resolve)) {
      return {.status = 401, .headers = {{"X-Error-Code", "RepoNotFound"}}};
    }
    std::string name = request.target.substr(resolve.size());
    name = name.substr(name.find('/') + 1);
    if (overloaded_ > 0) return --overloaded_, TestAnswer{.status = 503};
    if (!files_.contains(name)) return {.status = 404};
    const std::string& content = files_[name];
    if (large_.contains(name)) {
      return {.status = 302,
              .headers = {{"Location", store_.url() + "/store/" + name},
                          {"X-Linked-Etag", "\"" + sha256_hex(content) + "\""},
                          {"X-Linked-Size", std::to_string(content.size())}},
              .body = "moved"};
    }
    TestAnswer answer = slice(request, content);
    answer.headers.emplace_back("ETag", "\"" + git_sha1(content) + "\"");
    return answer;
  }

  TestAnswer answer_store(const TestRequest& request) {
    TestAnswer answer = slice(request, served_.value_or(files_[request.target.substr(7)]));
    if (ignores_ranges_) answer = {.body = files_[request.target.substr(7)]};
    const std::string length = std::to_string(answer.body.size());
    if (cuts_ > 0) --cuts_, answer.cut_after = std::min<size_t>(answer.body.size() / 2, 30'000);
    answer.length = length;
    return answer;
  }

  PulledModel pull_tiny(const std::string& name = "me/tiny") { return pull(name, options_); }
  void expect_refusal(ErrorCode code, std::string_view part, const std::string& name = "me/tiny") {
    expect_error(code, part, [&] { pull(name, options_); });
  }
  std::vector<std::string> left_over() const {
    std::vector<std::string> names;
    if (!fs::exists(options_.folder)) return names;
    for (const auto& entry : fs::recursive_directory_iterator(options_.folder)) {
      const std::string name = entry.path().filename().string();
      if (name.ends_with(".part") || name.find("-tmp-") != name.npos) names.push_back(name);
    }
    return names;
  }

  TempFolder folder_;
  std::map<std::string, std::string> files_;
  std::set<std::string> large_;
  std::string token_, commit_ = "c0ffee";
  std::optional<std::string> served_;  // by the store, whatever the Hub says
  std::atomic<int> cuts_{0}, overloaded_{0};
  bool ignores_ranges_ = false;
  PullOptions options_;
  TestServer store_{[this](const TestRequest& request) { return answer_store(request); }};
  TestServer hub_{[this](const TestRequest& request) { return answer_hub(request); }};
};

TEST_F(Hub, PullsWhatMoxieReads) {
  std::vector<std::string> seen;
  uint64_t last = 0;
  options_.progress = [&](const PullProgress& progress) {
    if (seen.empty() || seen.back() != progress.file) seen.push_back(progress.file);
    EXPECT_GE(progress.total_done, last);
    EXPECT_LE(progress.total_done, progress.total_size);
    last = progress.total_done;
    return true;
  };
  const auto model = pull_tiny();
  EXPECT_EQ(model.commit, "c0ffee");
  EXPECT_EQ(model.path, options_.folder / "me/tiny");
  EXPECT_EQ(model.files.size(), 3u);
  EXPECT_EQ(model.files.at("model.safetensors").sha256, sha256_hex(files_["model.safetensors"]));
  EXPECT_EQ(read_text(model.path / "model.safetensors"), files_["model.safetensors"]);
  EXPECT_EQ(read_text(model.path / "config.json"), files_["config.json"]);
  EXPECT_FALSE(fs::exists(model.path / "pytorch_model.bin"));
  EXPECT_EQ(seen, (std::vector<std::string>{"config.json", "model.safetensors", "tokenizer.json"}));
  EXPECT_EQ(last, model.size());
  EXPECT_TRUE(left_over().empty());
}

TEST_F(Hub, ASecondPullFetchesNothing) {
  pull_tiny();
  const size_t before = store_.requests().size();
  pull_tiny();
  EXPECT_EQ(store_.requests().size(), before);
  for (const auto& request : hub_.requests()) {
    if (request.method == "GET" && before < hub_.requests().size()) {
      EXPECT_EQ(request.target.find(".bin"), std::string::npos);
    }
  }
}

TEST_F(Hub, GoesOnAfterABrokenConnection) {
  cuts_ = 3;
  pull_tiny();
  EXPECT_EQ(read_text(options_.folder / "me/tiny/model.safetensors"), files_["model.safetensors"]);
  std::vector<std::string> ranges;
  for (const auto& request : store_.requests()) ranges.push_back(request.header("range"));
  EXPECT_EQ(ranges, (std::vector<std::string>{"", "bytes=30000-", "bytes=60000-", "bytes=80000-"}));
}

TEST_F(Hub, ALaterPullGoesOnWhereAFailedOneStopped) {
  cuts_ = 1;
  options_.retries = 0;
  expect_refusal(ErrorCode::kNetwork, "HF_ENDPOINT");
  EXPECT_EQ(left_over().size(), 2u);  // config.json, whole, and the beginning of the weights
  EXPECT_TRUE(list_pulled(options_.folder).empty());
  expect_error(ErrorCode::kNotFound, "no pulled model",
               [&] { resolve_model("me/tiny", options_.folder); });
  pull_tiny();
  EXPECT_EQ(store_.requests().back().header("range"), "bytes=30000-");
  EXPECT_EQ(read_text(options_.folder / "me/tiny/model.safetensors"), files_["model.safetensors"]);
  EXPECT_TRUE(left_over().empty());
}

TEST_F(Hub, APartOfAnotherVersionIsNotGoneOnWith) {
  cuts_ = 1;
  options_.retries = 0;
  expect_refusal(ErrorCode::kNetwork, "no answer");
  files_["model.safetensors"] = std::string(90'000, 'x');
  commit_ = "c0de";
  pull_tiny();
  EXPECT_EQ(store_.requests().back().header("range"), "");
  EXPECT_EQ(read_text(options_.folder / "me/tiny/model.safetensors"), std::string(90'000, 'x'));
  EXPECT_TRUE(left_over().empty());
}

TEST_F(Hub, AServerWithoutRangesStartsAnew) {
  cuts_ = 1;
  ignores_ranges_ = true;
  pull_tiny();
  EXPECT_EQ(read_text(options_.folder / "me/tiny/model.safetensors"), files_["model.safetensors"]);
}

TEST_F(Hub, WrongContentIsRefusedAndDeleted) {
  served_ = std::string(100'000, 'W');
  expect_refusal(ErrorCode::kCorruptData, "does not match the checksum");
  for (const auto& name : left_over()) EXPECT_FALSE(name.starts_with("model")) << name;
  EXPECT_FALSE(fs::exists(options_.folder / "me/tiny/model.safetensors"));
  EXPECT_TRUE(list_pulled(options_.folder).empty());
  served_ = std::string(100'001, 'w');
  expect_refusal(ErrorCode::kNetwork, "more than the 100000 bytes");
  served_ = std::string(99'999, 'w');
  expect_refusal(ErrorCode::kCorruptData, "does not match");
}

TEST_F(Hub, WrongContentOfASmallFileIsRefused) {
  pull_tiny();
  // The same length: only git's own checksum tells.
  put_file(options_.folder / "me/tiny/.moxie-pull.json", "{}");
  put_file(options_.folder / "me/tiny/config.json", std::string(files_["config.json"].size(), ' '));
  pull_tiny();
  EXPECT_EQ(read_text(options_.folder / "me/tiny/config.json"), files_["config.json"]);
}

TEST_F(Hub, ANewCommitReplacesTheOldOne) {
  pull_tiny();
  files_["config.json"] = "{\"model_type\": \"qwen2\"}";
  files_["generation_config.json"] = "{}";
  files_.erase("tokenizer.json");
  commit_ = "c0de";
  const auto model = pull_tiny();
  EXPECT_EQ(model.commit, "c0de");
  EXPECT_EQ(read_text(model.path / "config.json"), "{\"model_type\": \"qwen2\"}");
  EXPECT_FALSE(fs::exists(model.path / "tokenizer.json"));
  EXPECT_EQ(model.files.count("generation_config.json"), 1u);
  EXPECT_EQ(list_pulled(options_.folder).at(0).commit, "c0de");
}

TEST_F(Hub, ARevisionHasAFolderOfItsOwn) {
  const auto model = pull_tiny("me/tiny@v1");
  EXPECT_EQ(model.commit, "aaa1");
  EXPECT_EQ(model.path, options_.folder / "me/tiny@v1");
  for (const auto& request : hub_.requests()) {
    if (request.target.find("/resolve/") != std::string::npos) {
      EXPECT_NE(request.target.find("/resolve/aaa1/"), std::string::npos) << request.target;
    }
  }
  expect_refusal(ErrorCode::kNotFound, "Invalid rev id: v2", "me/tiny@v2");
}

TEST_F(Hub, TheTokenGoesToTheEndpointAlone) {
  token_ = "hf_secret";
  expect_refusal(ErrorCode::kNetwork, "HF_TOKEN");
  ::setenv("HF_TOKEN", "hf_secret", 1);
  pull_tiny();
  ::unsetenv("HF_TOKEN");
  EXPECT_EQ(hub_.requests().back().header("authorization"), "Bearer hf_secret");
  ASSERT_EQ(store_.requests().size(), 1u);
  EXPECT_EQ(store_.requests()[0].header("authorization"), "");
  options_.token = "hf_x\r\nHost: evil";
  expect_refusal(ErrorCode::kInvalidArgument, "control character");
}

TEST_F(Hub, TheEndpointComesFromTheEnvironment) {
  options_.endpoint.clear();
  ::setenv("HF_ENDPOINT", (hub_.url() + "/").c_str(), 1);
  EXPECT_EQ(pull_tiny().commit, "c0ffee");
  ::setenv("HF_ENDPOINT", "ftp://127.0.0.1", 1);
  expect_refusal(ErrorCode::kInvalidArgument, "must begin with https");
  ::unsetenv("HF_ENDPOINT");
}

TEST_F(Hub, AnOverloadedServerIsAskedAgain) {
  overloaded_ = 3;
  EXPECT_NO_THROW(pull_tiny());
  overloaded_ = 1000;
  options_.retries = 2;
  fs::remove_all(options_.folder);
  expect_refusal(ErrorCode::kNetwork, "answers 503");
  EXPECT_EQ(overloaded_, 997);
}

TEST_F(Hub, RefusalsNameTheFix) {
  expect_refusal(ErrorCode::kNotFound, "check the spelling", "me/nothing");
  options_.files = {"*.txt"};
  expect_refusal(ErrorCode::kNotFound, "it holds README.md, config.json");
  options_.files = {};
  files_.erase("model.safetensors");
  expect_refusal(ErrorCode::kUnsupported, "neither safetensors nor GGUF");
}

TEST_F(Hub, RefusalsOfOtherKinds) {
  int status = 403;
  TestServer server([&](const TestRequest&) {
    return TestAnswer{
        .status = status, .headers = {{"X-Error-Message", "gated"}}, .body = "<html>"};
  });
  options_.endpoint = server.url();
  options_.retries = 1;
  expect_refusal(ErrorCode::kNetwork, "(403) (it says: gated); accept the model's terms");
  EXPECT_EQ(server.requests().size(), 1u);
  status = 429;
  expect_refusal(ErrorCode::kNetwork, "wait a few minutes");
  EXPECT_EQ(server.requests().size(), 3u);
  status = 200;
  expect_refusal(ErrorCode::kCorruptData, "not valid JSON");
  options_.retries = 0;
  options_.endpoint = "http://127.0.0.1:1";
  expect_refusal(ErrorCode::kNetwork, "no answer");
}

TEST_F(Hub, OfflineUsesWhatIsThere) {
  options_.is_offline = true;
  expect_refusal(ErrorCode::kNotFound, "network is off");
  options_.is_offline = false;
  pull_tiny();
  const size_t before = hub_.requests().size();
  options_.is_offline = true;
  EXPECT_EQ(pull_tiny().commit, "c0ffee");
  EXPECT_EQ(hub_.requests().size(), before);
}

TEST_F(Hub, NamesFromTheServerCannotLeaveTheFolder) {
  for (const auto* name : {"../evil.json", "/etc/evil.json", "a/../../evil.json", "a//evil.json",
                           ".moxie-pull.json", "a\\\\evil.json", "./evil.json"}) {
    files_ = {{name, "x"}};
    options_.files = {"*"};
    expect_refusal(ErrorCode::kCorruptData, "refused");
  }
  EXPECT_FALSE(fs::exists(folder_ / "evil.json"));
}

TEST_F(Hub, NamesOfModelsAreStrict) {
  for (const auto* name : {"", "..", "../x", "a/b/c", "/etc/passwd", "a/..", "a b/c", "a/b:",
                           "a/b:../q", "a/b@", "a/b@../c", "a/b@x//y", ".a/b", "a/\xC3\xBC"}) {
    expect_refusal(ErrorCode::kInvalidArgument, "is not the name of a model", name);
  }
  EXPECT_EQ(parse_model_name("https://huggingface.co/me/tiny").repo, "me/tiny");
  const ModelName name = parse_model_name("hf.co/me/tiny@refs/pr/1:Q4_K_M");
  EXPECT_EQ(name.to_string(), "me/tiny@refs/pr/1:Q4_K_M");
  EXPECT_EQ(name.folder_name(), "me/tiny@refs~pr~1");
}

TEST_F(Hub, QuantsOfAGgufRepository) {
  files_ = {{"tiny-Q8_0.gguf", "eight"},
            {"tiny-Q4_K_M.gguf", "four"},
            {"tiny-IQ4_XS.gguf", "x"},
            {"mmproj-Q8_0.gguf", "eyes"},
            {"tiny-F32-00001-of-00002.gguf", "half"},
            {"config.json", "{}"}};
  expect_refusal(ErrorCode::kNotFound, "write me/tiny:quant for one of", "me/tiny:Q2_K");
  expect_refusal(ErrorCode::kNotFound, "parts cannot be read", "me/tiny:F32");
  pull_tiny("me/tiny:q8_0");
  EXPECT_EQ(read_text(resolve_model("me/tiny", options_.folder)), "eight");
  pull_tiny();  // the usual preference
  const auto models = list_pulled(options_.folder);
  ASSERT_EQ(models.size(), 1u);
  EXPECT_EQ(models[0].name, "me/tiny");
  EXPECT_EQ(models[0].files.size(), 2u);
  EXPECT_EQ(read_text(resolve_model("me/tiny", options_.folder)), "four");
  EXPECT_EQ(read_text(resolve_model("me/tiny:Q8_0", options_.folder)), "eight");
  expect_error(ErrorCode::kNotFound, "one of",
               [&] { resolve_model("me/tiny:Q2_K", options_.folder); });
  remove_pulled("me/tiny:Q8_0", options_.folder);
  EXPECT_EQ(list_pulled(options_.folder)[0].files.size(), 1u);
  EXPECT_FALSE(fs::exists(options_.folder / "me/tiny/tiny-Q8_0.gguf"));
  remove_pulled("me/tiny:Q4_K_M", options_.folder);
  EXPECT_FALSE(fs::exists(options_.folder / "me"));
}

TEST_F(Hub, ListResolveRemove) {
  EXPECT_TRUE(list_pulled(options_.folder).empty());
  pull_tiny();
  pull_tiny("me/tiny@v1");
  ASSERT_EQ(list_pulled(options_.folder).size(), 2u);
  EXPECT_EQ(list_pulled(options_.folder)[1].name, "me/tiny@v1");
  EXPECT_EQ(resolve_model("me/tiny", options_.folder), options_.folder / "me/tiny");
  EXPECT_EQ(resolve_model(folder_.path().string(), options_.folder), folder_.path());
  expect_error(ErrorCode::kNotFound, "did you mean 'me/tiny'",
               [&] { resolve_model("me/tinny", options_.folder); });
  expect_error(ErrorCode::kNotFound, "no file or folder",
               [&] { resolve_model("./x/y/z", options_.folder); });
  expect_error(ErrorCode::kNotFound, "", [&] { remove_pulled("me", options_.folder); });
  expect_error(ErrorCode::kInvalidArgument, "", [&] { remove_pulled("me/..", options_.folder); });
  put_file(options_.folder / "me/tiny/.moxie-pull.json", "damaged");
  EXPECT_EQ(list_pulled(options_.folder).size(), 1u);
  remove_pulled("me/tiny", options_.folder);
  EXPECT_FALSE(fs::exists(options_.folder / "me/tiny"));
  EXPECT_TRUE(fs::exists(options_.folder / "me/tiny@v1/config.json"));
}

TEST_F(Hub, AStoppedPullKeepsWhatCame) {
  options_.progress = [](const PullProgress& progress) {
    return progress.file != "model.safetensors" || progress.file_done < 50'000;
  };
  expect_refusal(ErrorCode::kInterrupted, "kept");
  options_.progress = nullptr;
  pull_tiny();
  EXPECT_NE(store_.requests().back().header("range"), "");
}

TEST(Http, RedirectsAreBoundedAndNeverCarryTheTokenAway) {
  TestServer other([](const TestRequest&) { return TestAnswer{.body = "there"}; });
  std::string next = "/loop";
  TestServer server([&](const TestRequest&) {
    return TestAnswer{.status = 307, .headers = {{"Location", next}}};
  });
  HttpClient client(server.url(), "secret");
  expect_error(ErrorCode::kNetwork, "redirects", [&] { client.get(server.url() + "/a", 100); });
  EXPECT_EQ(server.requests().back().header("authorization"), "Bearer secret");
  next = other.url() + "/x";
  EXPECT_EQ(client.get(server.url() + "/a", 100).body, "there");
  EXPECT_EQ(client.head(server.url() + "/a").status, 307);
  // The same machine under another name and through a trick with a user's name.
  next = other.url("localhost") + "/x";
  client.get(server.url() + "/a", 100);
  next = fmt::format("http://127.0.0.1@{}/x", other.url("localhost").substr(7));
  client.get(server.url() + "/a", 100);
  for (const auto& request : other.requests()) {
    EXPECT_NE(request.header("authorization").substr(0, 6), "Bearer");
  }
  EXPECT_EQ(other.requests().size(), 3u);
  next = "file:///etc/passwd";
  expect_error(ErrorCode::kInvalidArgument, "https", [&] { client.get(server.url() + "/a", 100); });
}

TEST(Http, AnswersAreBounded) {
  TestServer server([](const TestRequest&) { return TestAnswer{.body = std::string(1000, 'x')}; });
  HttpClient client(server.url(), "");
  EXPECT_EQ(client.get(server.url(), 1000).body.size(), 1000u);
  EXPECT_EQ(client.get(server.url(), 999).status, 0);
  TestServer many([](const TestRequest&) {
    TestAnswer answer;
    for (int i = 0; i < 1000; ++i) answer.headers.emplace_back(fmt::format("x-{}", i), "y");
    return answer;
  });
  EXPECT_EQ(client.get(many.url(), 1000).status, 0);
}

TEST(Http, OriginsAndEncoding) {
  EXPECT_EQ(origin_of("HTTPS://Example.com/x"), "https://example.com:443");
  EXPECT_EQ(origin_of("http://example.com:80/x"), origin_of("http://example.com"));
  EXPECT_NE(origin_of("http://example.com"), origin_of("https://example.com"));
  EXPECT_EQ(percent_encode("a b/ü.txt"), "a%20b%2F%C3%BC.txt");
}

}  // namespace
}  // namespace moxie::io
