#include "io/hub.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/clock.h"
#include "base/error.h"
#include "base/files.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/text_util.h"
#include "io/hub_download.h"
#include "io/hub_names.h"
#include "io/hub_store.h"

namespace moxie::io {
namespace fs = std::filesystem;
namespace {

constexpr const char* kDefaultEndpoint = "https://huggingface.co";
constexpr size_t kMaxListing = size_t{32} << 20;  // JSON that names a repository's files

std::string from_environment(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != 0 ? value : otherwise;
}

// Only one pull at a time works in a folder; the lock goes with the process.
class Lock {
 public:
  explicit Lock(const fs::path& folder) {
    const fs::path path = folder / kPullLock;
    fd_ = ::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd_ < 0) {
      fail(ErrorCode::kIo, "pull", "cannot create '{}': {}", path.string(), std::strerror(errno));
    }
    if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
      ::close(fd_);
      fail(ErrorCode::kIo, "pull", "another pull is at work in '{}'; wait for it", folder.string());
    }
  }
  ~Lock() { ::close(fd_); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  int fd_;
};

class Puller {
 public:
  Puller(std::string_view name, PullOptions options)
      : options_(fill_in(std::move(options))),
        name_(parse_model_name(name)),
        host_(options_.endpoint),
        client_(options_.endpoint, options_.token) {}

  PulledModel run() {
    model_.name = name_.folder_name();
    model_.path = options_.folder / model_.name;
    const auto old = read_old();
    if (options_.is_offline) return offline(old);
    list_files();
    make_folder(model_.path);
    const Lock lock(model_.path);
    describe(old);
    check_space();
    fetch();
    publish(old);
    return model_;
  }

 private:
  struct Wanted {
    RemoteFile remote;
    fs::path target, part;  // part: empty when the file is already right
  };

  static PullOptions fill_in(PullOptions options) {
    if (options.token.empty()) options.token = from_environment("HF_TOKEN", "");
    if (options.endpoint.empty()) {
      options.endpoint = from_environment("HF_ENDPOINT", kDefaultEndpoint);
    }
    while (options.endpoint.ends_with('/')) options.endpoint.pop_back();
    if (options.folder.empty()) options.folder = models_folder();
    return options;
  }

  std::optional<PulledModel> read_old() const {
    try {
      return read_pulled(options_.folder, model_.name);
    } catch (const Error&) {
      return std::nullopt;  // a damaged manifest: the files are checked against the Hub instead
    }
  }

  PulledModel offline(const std::optional<PulledModel>& old) const {
    if (!old) {
      fail(ErrorCode::kNotFound, "pull",
           "{} is not here and the network is off; pull it once without "
           "--offline",
           name_.to_string());
    }
    return *old;
  }

  static void make_folder(const fs::path& folder) {
    std::error_code failed;
    fs::create_directories(folder, failed);
    if (failed) {
      fail(ErrorCode::kIo, "pull", "cannot create '{}': {}", folder.string(), failed.message());
    }
  }

  // The commit behind the revision, and the names of the files that are wanted of it.
  void list_files() {
    const std::string url = fmt::format("{}/api/models/{}/revision/{}", host_, name_.repo,
                                        percent_encode(name_.revision));
    const std::string what = fmt::format("model {} at revision {}", name_.repo, name_.revision);
    const auto response =
        with_retries(options_, host_, what, [&] { return client_.get(url, kMaxListing); });
    const Json json = parse_json(response.body, url);
    const auto is_odd = [](unsigned char c) { return std::isalnum(c) == 0; };
    if (!json.is_object() || !json.contains("sha") || !json["sha"].is_string() ||
        !json.contains("siblings") || !json["siblings"].is_array()) {
      fail(ErrorCode::kNetwork, "pull", "{} does not answer as the Hub does; check HF_ENDPOINT",
           host_);
    }
    model_.commit = json["sha"].get<std::string>();
    if (model_.commit.empty() || std::any_of(model_.commit.begin(), model_.commit.end(), is_odd)) {
      fail(ErrorCode::kNetwork, "pull", "{} names the commit '{}'", host_, model_.commit);
    }
    std::vector<std::string> names;
    for (const auto& sibling : json["siblings"]) {
      if (sibling.is_object() && sibling.contains("rfilename") &&
          sibling["rfilename"].is_string()) {
        names.push_back(sibling["rfilename"].get<std::string>());
      }
    }
    chosen_ = select_files(names, name_, options_.files);
    for (const auto& name : chosen_) {
      if (!is_safe_file_name(name)) {
        fail(ErrorCode::kCorruptData, "pull", "{} lists a file called '{}'; refused", name_.repo,
             name);
      }
    }
    model_.repo = name_.repo;
    model_.revision = name_.revision;
  }

  void describe(const std::optional<PulledModel>& old) {
    for (const auto& name : chosen_) {
      std::vector<std::string> parts = split(name, '/');
      for (auto& part : parts) part = percent_encode(part);
      const std::string url =
          fmt::format("{}/{}/resolve/{}/{}", host_, name_.repo, model_.commit, join(parts, "/"));
      Wanted wanted{describe_file(client_, options_, host_, name, url), model_.path / name, {}};
      total_ += wanted.remote.size;
      // Unchanged since the last pull, by the manifest; else by what the file holds.
      const bool is_known = old && old->files.contains(name) && !wanted.remote.etag.empty() &&
                            old->files.at(name).etag == wanted.remote.etag;
      std::error_code ignored;
      const bool is_here = is_known
                               ? fs::file_size(wanted.target, ignored) == old->files.at(name).size
                               : has_content(wanted.remote, wanted.target);
      if (is_here) {
        model_.files[name] =
            is_known ? old->files.at(name) : entry_of(wanted.remote, wanted.target);
        done_ += wanted.remote.size;
      } else {
        missing_.push_back(std::move(wanted));
      }
    }
  }

  static PulledFile entry_of(const RemoteFile& remote, const fs::path& path) {
    return {fs::file_size(path), sha256_of_file(path), remote.etag};
  }

  void check_space() const {
    uint64_t needed = 0;
    for (const auto& wanted : missing_) needed += wanted.remote.size;
    std::error_code failed;
    const auto space = fs::space(model_.path, failed);
    if (!failed && space.available < needed) {
      fail(ErrorCode::kIo, "pull", "{} needs {}, '{}' has {} free; make room or set XDG_DATA_HOME",
           name_.to_string(), human_bytes(needed), model_.path.string(),
           human_bytes(space.available));
    }
  }

  bool report(const Wanted& wanted, uint64_t have) const {
    if (!options_.progress) return true;
    return options_.progress({wanted.remote.name, have, wanted.remote.size, done_ + have, total_});
  }

  void fetch() {
    for (auto& wanted : missing_) {
      make_folder(wanted.target.parent_path());
      wanted.part = download_file(client_, options_, host_, wanted.remote, wanted.target,
                                  [&](uint64_t have) { return report(wanted, have); });
      done_ += fs::file_size(wanted.part);
    }
  }

  // All files are here and right: names are given, and the manifest says so last. While files of an
  // older commit are being replaced there is no manifest, so that no mixture passes for a model.
  void publish(const std::optional<PulledModel>& old) {
    const bool is_same_commit = old && old->commit == model_.commit;
    std::error_code failed;
    if (old && !is_same_commit) fs::remove(model_.path / kPullManifest, failed);
    for (const auto& wanted : missing_) {
      model_.files[wanted.remote.name] = entry_of(wanted.remote, wanted.part);
      fs::rename(wanted.part, wanted.target, failed);
      if (failed) {
        fail(ErrorCode::kIo, "pull", "cannot name '{}': {}", wanted.target.string(),
             failed.message());
      }
      sync_folder(wanted.target.parent_path());
      remove_other_parts(wanted.target);
    }
    if (old) keep_or_drop(*old, is_same_commit);
    model_.pulled_at = utc_timestamp();
    write_pulled(model_);
  }

  // What an earlier pull brought stays when it is of this commit (another quant), else it goes.
  void keep_or_drop(const PulledModel& old, bool is_same_commit) {
    for (const auto& [name, file] : old.files) {
      if (model_.files.contains(name)) continue;
      std::error_code ignored;
      if (is_same_commit) {
        model_.files[name] = file;
      } else {
        fs::remove(model_.path / name, ignored);
      }
    }
  }

  // Parts of other versions of this file.
  static void remove_other_parts(const fs::path& target) {
    const std::string begin = target.filename().string() + ".";
    std::error_code failed;
    for (const auto& entry : fs::directory_iterator(target.parent_path(), failed)) {
      const std::string name = entry.path().filename().string();
      std::error_code ignored;
      if (name.starts_with(begin) && name.ends_with(".part")) fs::remove(entry.path(), ignored);
    }
  }

  PullOptions options_;
  ModelName name_;
  std::string host_;
  HttpClient client_;
  PulledModel model_;
  std::vector<std::string> chosen_;
  std::vector<Wanted> missing_;
  uint64_t done_ = 0, total_ = 0;
};

}  // namespace

PulledModel pull(std::string_view name, const PullOptions& options) {
  return Puller(name, options).run();
}

}  // namespace moxie::io
