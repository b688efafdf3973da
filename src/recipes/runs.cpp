#include "recipes/runs.h"

#include <signal.h>
#include <sqlite3.h>
#include <unistd.h>

#include <cerrno>

#include "base/clock.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"

namespace moxie::recipes {
namespace {

constexpr int kSchema = 1;
constexpr int kPatienceMs = 2000;  // how long another process may hold the file
constexpr const char* kCreate =
    "CREATE TABLE IF NOT EXISTS runs (id INTEGER PRIMARY KEY AUTOINCREMENT, started TEXT NOT NULL,"
    " finished TEXT NOT NULL, status TEXT NOT NULL, verb TEXT NOT NULL, model TEXT NOT NULL,"
    " method TEXT NOT NULL, out TEXT NOT NULL, config TEXT NOT NULL, metrics TEXT NOT NULL,"
    " version TEXT NOT NULL, host TEXT NOT NULL, pid INTEGER NOT NULL)";

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "unknown";
}

// Strings that are not UTF-8 (a path may hold any bytes) are stored with a replacement character.
std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

class Database {
 public:
  explicit Database(bool is_writable) {
    const auto path = runs_file();
    const int flags =
        is_writable ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY;
    if (is_writable) {
      std::error_code error;
      std::filesystem::create_directories(path.parent_path(), error);
      if (error) {
        fail(ErrorCode::kIo, "runs", "cannot create '{}': {}", path.parent_path().string(),
             error.message());
      }
    }
    sqlite3* opened = nullptr;
    const int status = sqlite3_open_v2(path.c_str(), &opened, flags, nullptr);
    handle_.reset(opened);  // SQLite hands one out even when it fails
    check(status, "open");
    sqlite3_busy_timeout(handle(), kPatienceMs);
    const int64_t schema = schema_version();
    if (schema > kSchema) {
      fail(ErrorCode::kUnsupported, "runs",
           "'{}' was written by a newer Moxie (schema {}, this one knows {})", path.string(),
           schema, kSchema);
    }
    if (is_writable) {
      check(sqlite3_exec(handle(), kCreate, nullptr, nullptr, nullptr), "set up");
      check(sqlite3_exec(handle(), "PRAGMA user_version = 1", nullptr, nullptr, nullptr), "set up");
    }
  }
  sqlite3* handle() const { return handle_.get(); }
  void check(int status, const char* doing) const {
    if (status == SQLITE_OK || status == SQLITE_ROW || status == SQLITE_DONE) return;
    fail(status == SQLITE_CORRUPT || status == SQLITE_NOTADB ? ErrorCode::kCorruptData
                                                             : ErrorCode::kIo,
         "runs", "cannot {} '{}': {}", doing, runs_file().string(),
         handle() != nullptr ? sqlite3_errmsg(handle()) : sqlite3_errstr(status));
  }

 private:
  struct Close {
    void operator()(sqlite3* handle) const { sqlite3_close(handle); }
  };
  int64_t schema_version();
  std::unique_ptr<sqlite3, Close> handle_;
};

class Statement {
 public:
  Statement(const Database& database, const char* sql) : database_(database) {
    database.check(sqlite3_prepare_v2(database.handle(), sql, -1, &handle_, nullptr), "query");
  }
  ~Statement() { sqlite3_finalize(handle_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& bind(const std::string& text) {
    database_.check(sqlite3_bind_text(handle_, ++bound_, text.data(), static_cast<int>(text.size()),
                                      SQLITE_TRANSIENT),
                    "query");
    return *this;
  }
  Statement& bind(int64_t number) {
    database_.check(sqlite3_bind_int64(handle_, ++bound_, number), "query");
    return *this;
  }
  bool step() {
    const int status = sqlite3_step(handle_);
    database_.check(status, "use");
    return status == SQLITE_ROW;
  }
  int64_t number(int column) const { return sqlite3_column_int64(handle_, column); }
  std::string text(int column) const {
    const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(handle_, column));
    return bytes == nullptr ? "" : bytes;
  }

 private:
  const Database& database_;
  sqlite3_stmt* handle_ = nullptr;
  int bound_ = 0;
};

int64_t Database::schema_version() {
  Statement query(*this, "PRAGMA user_version");
  return query.step() ? query.number(0) : 0;
}

constexpr const char* kColumns =
    "SELECT id, started, finished, status, verb, model, method, out, config, metrics, version, "
    "host, pid"
    " FROM runs ";

RunRecord read_row(const Statement& row) {
  RunRecord run;
  run.id = row.number(0);
  std::string* const texts[] = {&run.started, &run.finished, &run.status, &run.verb,
                                &run.model,   &run.method,   &run.out};
  int column = 1;
  for (std::string* text : texts) *text = row.text(column++);
  run.config = parse_json(row.text(8), "runs: config");
  run.metrics = parse_json(row.text(9), "runs: metrics");
  run.version = row.text(10);
  run.host = row.text(11);
  // A killed process cannot write its end.
  const bool is_here = run.host == host_name();
  if (run.status == "running" && is_here && ::kill(static_cast<pid_t>(row.number(12)), 0) != 0 &&
      errno == ESRCH) {
    run.status = "lost";
  }
  return run;
}

}  // namespace

std::filesystem::path runs_file() {
  return data_folder() / "runs.db";
}

RunRecorder::RunRecorder(const RunRecord& run) {
  try {
    const Database database(true);
    Statement insert(
        database,
        "INSERT INTO runs (started, finished, status, verb, model, method, out, config,"
        " metrics, version, host, pid) VALUES (?, '', 'running', ?, ?, ?, ?, ?, '{}', ?, ?, ?)");
    insert.bind(utc_timestamp()).bind(run.verb).bind(run.model).bind(run.method).bind(run.out);
    insert.bind(dump(run.config)).bind(MOXIE_VERSION).bind(host_name()).bind(int64_t{::getpid()});
    insert.step();
    id_ = sqlite3_last_insert_rowid(database.handle());
  } catch (const std::exception& error) {
    spdlog::warn("this run is not recorded: {}", error.what());
  }
}

RunRecorder::~RunRecorder() {
  if (!is_finished_) finish("failed", Json::object());
}

void RunRecorder::finish(std::string_view status, const Json& metrics) noexcept {
  is_finished_ = true;
  if (id_ == 0) return;
  try {
    const Database database(true);
    Statement update(database,
                     "UPDATE runs SET finished = ?, status = ?, metrics = ? WHERE id = ?");
    update.bind(utc_timestamp()).bind(std::string(status)).bind(dump(metrics)).bind(id_).step();
  } catch (const std::exception& error) {
    spdlog::warn("the end of this run is not recorded: {}", error.what());
  }
}

std::vector<RunRecord> list_runs(int64_t limit) {
  std::vector<RunRecord> runs;
  if (!std::filesystem::exists(runs_file())) return runs;
  const Database database(false);
  Statement query(database, (std::string(kColumns) + "ORDER BY id DESC LIMIT ?").c_str());
  query.bind(limit > 0 ? limit : int64_t{-1});
  while (query.step()) runs.push_back(read_row(query));
  return runs;
}

RunRecord require_run(int64_t id) {
  if (std::filesystem::exists(runs_file())) {
    const Database database(false);
    Statement query(database, (std::string(kColumns) + "WHERE id = ?").c_str());
    if (query.bind(id).step()) return read_row(query);
  }
  fail(ErrorCode::kNotFound, "runs", "there is no run {}; moxie runs ls shows those that are", id);
}

void forget_run(int64_t id) {
  require_run(id);
  const Database database(true);
  Statement(database, "DELETE FROM runs WHERE id = ?").bind(id).step();
}

}  // namespace moxie::recipes
