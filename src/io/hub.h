#pragma once
// Models from the Hugging Face Hub, or a mirror that speaks its API, kept under models_folder():
//   models/owner/name/            the files of one repository and .moxie-pull.json, written last
//   models/owner/name@revision/   the same at a revision other than main
// A file is fetched into <file>.<etag>.part (an interrupted pull goes on there), compared with the
// checksum the Hub states, and only then given its name. The token reaches the endpoint alone.
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace moxie::io {

// What a name means: "owner/name", "owner/name:Q4_K_M", "owner/name@revision". Throws
// kInvalidArgument for anything that could leave its folder.
struct ModelName {
  std::string repo;  // "owner/name"; old models of the Hub have no owner
  std::string revision = "main";
  std::string quant;                // which GGUF file of the repository; may be empty
  std::string folder_name() const;  // below models_folder()
  std::string to_string() const;
};
ModelName parse_model_name(std::string_view text);

struct PullProgress {
  std::string file;
  uint64_t file_done = 0, file_size = 0;
  uint64_t total_done = 0, total_size = 0;  // of all files of this pull
};

struct PullOptions {
  std::vector<std::string> files;  // names or shell patterns; empty: what Moxie reads
  std::string token;               // empty: $HF_TOKEN
  std::string endpoint;            // empty: $HF_ENDPOINT, else https://huggingface.co
  std::filesystem::path folder;    // empty: models_folder()
  bool is_offline = false;         // no network: the pulled one or an error
  int retries = 5;                 // after a broken connection or an overloaded server, a file
  double retry_seconds = 1;        // before the first retry; doubles each time
  std::function<bool(const PullProgress&)> progress;  // false stops: kInterrupted
};

struct PulledFile {
  uint64_t size = 0;
  std::string sha256, etag;
};
struct PulledModel {
  std::string name;            // as list and remove take it
  std::filesystem::path path;  // its folder
  std::string repo, revision, commit, pulled_at;
  std::map<std::string, PulledFile> files;
  uint64_t size() const;
};

std::filesystem::path models_folder();  // data_folder()/models
PulledModel pull(std::string_view name, const PullOptions& options = {});

// `folder` empty: models_folder().
std::vector<PulledModel> list_pulled(const std::filesystem::path& folder = {});
// With a quant only that GGUF file goes. Throws kNotFound.
void remove_pulled(std::string_view name, const std::filesystem::path& folder = {});
// What MODEL of the command line means: a path that exists wins, else a pulled name: its folder, or
// its GGUF file. Throws kNotFound with what to do.
std::filesystem::path resolve_model(std::string_view name,
                                    const std::filesystem::path& folder = {});

// Which of a repository's files a pull takes; throws kNotFound or kUnsupported with the choices.
std::vector<std::string> select_files(const std::vector<std::string>& all, const ModelName& name,
                                      const std::vector<std::string>& patterns);

}  // namespace moxie::io
