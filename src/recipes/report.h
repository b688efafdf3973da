#pragma once
// report.html: one file that shows what a run did, without network or other files. Curves are
// inline SVG and need no script; a small inline one adds the read-out under the pointer and the
// switch between dark and light. All text that comes from data or options is escaped.
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "train/callback.h"

namespace moxie::recipes {

struct ReportSample {
  std::string prompt, expected, before, after;  // expected may be empty
};

struct ReportSite {
  std::string name;  // "layers.0.attn.q"
  int64_t parameters = 0;
};

struct Report {
  std::string model, method, out;
  std::string status = "finished";
  std::string started, finished;  // UTC
  double seconds = 0;
  int64_t total_parameters = 0;
  std::vector<std::pair<std::string, std::string>>
      facts;  // further tiles: "exact match", "3% to 94%"
  std::vector<train::StepMetrics> steps;
  std::vector<train::EvalMetrics> evals;
  std::vector<ReportSample> samples;
  std::vector<ReportSite> sites;
  Json config = Json::object();
};

std::string report_html(const Report& report);

// The metrics files of a run, for reports and tables. Missing files give empty lists.
std::vector<train::StepMetrics> read_step_metrics(const std::string& metrics_jsonl);
std::vector<train::EvalMetrics> read_eval_metrics(const std::string& eval_jsonl);

}  // namespace moxie::recipes
