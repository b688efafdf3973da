// The diary of runs: list, show, compare.
#include "recipes/runs.h"

#include <fmt/format.h>

#include <charconv>
#include <set>

#include "app/cli/verb.h"
#include "base/text_util.h"

namespace moxie::cli {
namespace {

using recipes::RunRecord;

struct RunsOptions {
  std::string action;
  std::vector<std::string> ids;
  int64_t limit = 20;

  void visit(auto& v) {
    v("action", action, "what to do", one_of({"ls", "show", "compare", "rm"}));
    v("ids", ids, "numbers of runs, as ls shows them");
    v("limit", limit, "newest runs that ls shows; 0 for all", at_least(0));
  }
};

Json to_json(const RunRecord& run) {
  return {{"id", run.id},           {"started", run.started}, {"finished", run.finished},
          {"status", run.status},   {"verb", run.verb},       {"model", run.model},
          {"method", run.method},   {"out", run.out},         {"config", run.config},
          {"metrics", run.metrics}, {"version", run.version}, {"host", run.host}};
}

std::string shown(const Json& value) {
  if (value.is_string()) return printable(value.get<std::string>());
  if (value.is_number_float()) return fmt::format("{:.6g}", value.get<double>());
  return printable(value.dump(-1, ' ', false, Json::error_handler_t::replace));
}

std::vector<RunRecord> chosen(const RunsOptions& options, size_t at_least_count) {
  std::vector<RunRecord> runs;
  for (const auto& word : options.ids) {
    int64_t id = 0;
    const auto [end, status] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (status != std::errc() || end != word.data() + word.size()) {
      fail(ErrorCode::kInvalidArgument, "runs",
           "'{}' is not the number of a run; see moxie runs ls", word);
    }
    runs.push_back(recipes::require_run(id));
  }
  if (runs.size() < at_least_count) {
    fail(ErrorCode::kInvalidArgument, "runs", "{} needs {} run{}, but {} given; see moxie runs ls",
         options.action, at_least_count == 1 ? "a" : "two", at_least_count == 1 ? "" : "s",
         runs.empty() ? "none was" : "one was");
  }
  return runs;
}

std::string painted(const std::string& status, const Terminal& terminal) {
  if (status == "done") return terminal.green(status);
  return status == "running" ? terminal.cyan(status) : terminal.yellow(status);
}

void list(const RunsOptions& options, const Context& context) {
  const auto runs = recipes::list_runs(options.limit);
  if (context.globals.json) {
    Json rows = Json::array();
    for (const auto& run : runs) rows.push_back(to_json(run));
    fmt::print("{}\n", rows.dump(2));
    return;
  }
  if (runs.empty()) {
    fmt::print(stderr, "no run is recorded yet; moxie tune records each of its runs\n");
    return;
  }
  TextTable table{
      {"run", "started", "status", "verb", "model", "method", "loss", "out"}, {}, {true}};
  for (const auto& run : runs) {
    const auto loss = run.metrics.find("loss");
    table.rows.push_back({std::to_string(run.id), run.started, painted(run.status, context.out),
                          run.verb, printable(run.model), run.method,
                          loss == run.metrics.end() ? "" : shown(*loss), printable(run.out)});
  }
  fmt::print("{}", table.render(context.out));
}

// {"data": {"train": 3}} as {"data.train": 3}.
Json flattened(const Json& object) {
  Json flat = Json::object();
  for (const auto& [key, value] : object.items()) {
    if (!value.is_object()) {
      flat[key] = value;
      continue;
    }
    const Json inside = flattened(value);
    for (const auto& [name, inner] : inside.items()) flat[key + "." + name] = inner;
  }
  return flat;
}

void show(const RunsOptions& options, const Context& context) {
  const auto runs = chosen(options, 1);
  if (context.globals.json) {
    fmt::print("{}\n", to_json(runs[0]).dump(2));
    return;
  }
  for (const auto& run : runs) {
    TextTable table{{"", ""}, {}, {}};
    const Json facts = flattened(to_json(run));
    for (const auto& [key, value] : facts.items())
      table.rows.push_back({context.out.green(key), shown(value)});
    fmt::print("{}", table.render(context.out));
  }
}

// Keys of all runs in the order they first appear, with each run's value or null.
Json side_by_side(const std::vector<RunRecord>& runs, Json RunRecord::*part,
                  bool only_differences) {
  std::vector<std::string> keys;
  std::set<std::string> seen;
  std::vector<Json> facts;
  for (const auto& run : runs) {
    facts.push_back(flattened(run.*part));
    for (const auto& [key, value] : facts.back().items()) {
      if (seen.insert(key).second) keys.push_back(key);
    }
  }
  Json rows = Json::object();
  for (const auto& key : keys) {
    Json values = Json::array();
    bool is_same = true;
    for (const Json& of_run : facts) {
      values.push_back(of_run.value(key, Json()));
      is_same = is_same && values.back() == values.front();
    }
    if (!is_same || !only_differences) rows[key] = values;
  }
  return rows;
}

void compare(const RunsOptions& options, const Context& context) {
  const auto runs = chosen(options, 2);
  Json ids = Json::array();
  for (const auto& run : runs) ids.push_back(run.id);
  const Json config = side_by_side(runs, &RunRecord::config, true);
  const Json metrics = side_by_side(runs, &RunRecord::metrics, false);
  if (context.globals.json) {
    fmt::print("{}\n", Json{{"runs", ids}, {"config", config}, {"metrics", metrics}}.dump(2));
    return;
  }
  TextTable table{{""}, {}, {false}};
  for (const auto& id : ids) {
    table.header.push_back("run " + id.dump());
    table.right.push_back(true);
  }
  const auto add = [&](const char* part, const Json& rows) {
    for (const auto& [key, values] : rows.items()) {
      std::vector<std::string> row = {context.out.green(std::string(part) + "." + key)};
      for (const auto& value : values) row.push_back(value.is_null() ? "-" : shown(value));
      table.rows.push_back(std::move(row));
    }
  };
  add("config", config);
  add("metrics", metrics);
  fmt::print("{}", table.render(context.out));
}

void run(RunsOptions& options, Context& context) {
  if (options.action == "ls") {
    list(options, context);
  } else if (options.action == "show") {
    show(options, context);
  } else if (options.action == "compare") {
    compare(options, context);
  } else {
    for (const auto& record : chosen(options, 1)) {
      recipes::forget_run(record.id);
      if (!context.globals.json) fmt::print("forgot run {}; its folder stays\n", record.id);
    }
  }
}

}  // namespace

extern const Verb runs_entry;
const Verb runs_entry = {.group = Group::kTrain,
                         .summary = "list, show and compare the runs made so far",
                         .positionals = "action [ids...]",
                         .examples =
                             "moxie runs ls\n"
                             "moxie runs show 3\n"
                             "moxie runs compare 3 4 --json",
                         .reads_recipe = false,
                         .create = invocation<RunsOptions, run>};

}  // namespace moxie::cli
