#include "recipes/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/files.h"
#include "base/text_util.h"
#include "recipes/report_chart.h"
#include "recipes/report_style.h"

namespace moxie::recipes {
namespace {

using train::EvalMetrics;
using train::StepMetrics;

constexpr size_t kPoints = 500;  // of a curve; more cannot be seen

std::string tile(std::string_view label, std::string_view value, bool is_main = false) {
  return fmt::format("<div class=\"card tile{}\"><b>{}</b><span>{}</span></div>\n",
                     is_main ? " main" : "", escape_html(value), escape_html(label));
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

int64_t trainable(const Report& report) {
  int64_t sum = 0;
  for (const auto& site : report.sites) sum += site.parameters;
  return sum;
}

std::string grouped(int64_t value) {  // 1013760 -> "1,013,760"
  std::string digits = std::to_string(value);
  for (auto at = static_cast<int64_t>(digits.size()) - 3; at > 0; at -= 3) {
    digits.insert(static_cast<size_t>(at), ",");
  }
  return digits;
}

// "2026-01-31T12:04:20Z" -> "2026-01-31 12:04 UTC"
std::string readable_time(const std::string& time) {
  if (time.size() != 20 || time[10] != 'T') return time;
  return time.substr(0, 10) + " " + time.substr(11, 5) + " UTC";
}

std::string tiles(const Report& report) {
  std::string text;
  for (const auto& [label, value] : report.facts) text += tile(label, value, true);
  if (!report.evals.empty()) {
    const auto best =
        std::min_element(report.evals.begin(), report.evals.end(),
                         [](const auto& a, const auto& b) { return a.loss < b.loss; });
    text += tile(fmt::format("best held-out loss, step {}", best->step),
                 fmt::format("{:.4f}", best->loss));
  }
  if (!report.steps.empty()) {
    std::vector<double> speeds;
    double tokens = 0;
    double peak = 0;
    for (const auto& step : report.steps) {
      speeds.push_back(step.tokens_per_second);
      tokens = std::max(tokens, static_cast<double>(step.tokens_seen));
      peak = std::max(peak, step.peak_rss_mib);
    }
    text += tile("final training loss", fmt::format("{:.4f}", report.steps.back().loss));
    text += tile("steps", fmt::format("{}", report.steps.back().step));
    if (tokens > 0) text += tile("tokens seen", compact_number(tokens));
    text += tile("tokens/s, median", compact_number(median(std::move(speeds))));
    if (peak > 0)
      text += tile("peak memory", human_bytes(static_cast<uint64_t>(peak * 1024 * 1024)));
  }
  if (report.seconds > 0) text += tile("time", human_duration(report.seconds));
  if (const int64_t count = trainable(report); count > 0) {
    std::string label = "trainable parameters";
    if (report.total_parameters > 0) {
      label += fmt::format(", {:.2g}%", 100.0 * static_cast<double>(count) /
                                            static_cast<double>(report.total_parameters));
    }
    text += tile(label, compact_number(static_cast<double>(count)));
  }
  return "<section class=tiles>\n" + text + "</section>\n";
}

Series curve(const Report& report, const char* name, const char* style,
             double StepMetrics::*field) {
  Series series{name, style, {}, {}};
  for (const auto& step : report.steps) {
    series.x.push_back(static_cast<double>(step.step));
    series.y.push_back(step.*field);
  }
  return series;
}

Chart loss_chart(const Report& report) {
  const Series raw = curve(report, "each step", "faint", &StepMetrics::loss);
  Series mean = smooth(raw, std::clamp(static_cast<double>(raw.x.size()) / 25, 1.0, 50.0));
  mean.name = "training, smoothed";
  mean.style = "train";
  Chart chart;
  chart.title = "Loss";
  chart.unit = "per token, over steps";
  chart.series = {thin_out(raw, kPoints), thin_out(mean, kPoints)};
  chart.is_wide = true;
  // A loss that falls to a hundredth would lie on the axis for most of the run.
  chart.is_log = raw.y.front() > 0 && mean.y.back() > 0 && raw.y.front() > 20 * mean.y.back();
  if (chart.is_log) chart.unit += ", logarithmic";
  if (!report.evals.empty()) {
    Series held_out{"held out", "eval", {}, {}, true};
    for (const auto& eval : report.evals) {
      held_out.x.push_back(static_cast<double>(eval.step));
      held_out.y.push_back(eval.loss);
    }
    chart.series.push_back(std::move(held_out));
  }
  return chart;
}

std::string charts(const Report& report) {
  if (report.steps.empty()) return "";
  std::string text = chart_html(loss_chart(report));
  const auto one = [&](const char* title, const char* unit, double StepMetrics::*field) {
    const Series series = curve(report, title, "train", field);
    const bool is_known =
        std::any_of(series.y.begin(), series.y.end(), [](double v) { return v != 0; });
    if (!is_known) return;
    Chart chart;
    chart.title = title;
    chart.unit = unit;
    chart.series = {thin_out(series, kPoints)};
    chart.starts_at_zero = true;
    text += chart_html(chart);
  };
  one("Learning rate", "", &StepMetrics::learning_rate);
  one("Gradient norm", "before clipping", &StepMetrics::grad_norm);
  one("Speed", "tokens/s", &StepMetrics::tokens_per_second);
  return "<section class=charts>\n" + text + "</section>\n";
}

std::string answer(std::string_view label, const std::string& text, const std::string& expected) {
  const char* kind = expected.empty() ? "" : text == expected ? " good" : " bad";
  return fmt::format("<div class=\"answer{}\"><span>{}</span><code>{}</code></div>\n", kind, label,
                     text.empty() ? "(nothing)" : escape_html(text));
}

std::string samples(const Report& report) {
  if (report.samples.empty()) return "";
  std::string text = "<h2>Before and after</h2>\n<section class=samples>\n";
  for (const auto& sample : report.samples) {
    text += fmt::format("<div class=\"card sample\"><p class=ask>{}</p><div class=answers>\n",
                        escape_html(sample.prompt));
    text += answer("before", sample.before, sample.expected);
    text += answer("after", sample.after, sample.expected);
    if (!sample.expected.empty()) text += answer("expected", sample.expected, "");
    text += "</div></div>\n";
  }
  return text + "</section>\n";
}

// Sites that differ only in their layer are one row: "layers.*.attn.q".
std::string family_of(const std::string& site) {
  std::vector<std::string> parts = split(site, '.');
  for (auto& part : parts) {
    const bool is_number =
        !part.empty() &&
        std::all_of(part.begin(), part.end(), [](unsigned char c) { return c >= '0' && c <= '9'; });
    if (is_number) part = "*";
  }
  return join(parts, ".");
}

std::string sites_table(const Report& report) {
  if (report.sites.empty()) return "";
  std::vector<std::string> order;
  std::map<std::string, std::pair<int64_t, int64_t>> families;  // sites, parameters
  for (const auto& site : report.sites) {
    const std::string family = family_of(site.name);
    if (!families.contains(family)) order.push_back(family);
    auto& [count, parameters] = families[family];
    ++count;
    parameters += site.parameters;
  }
  const auto total = static_cast<double>(std::max<int64_t>(1, trainable(report)));
  double largest = 1;
  for (const auto& [family, sums] : families) {
    largest = std::max(largest, static_cast<double>(sums.second));
  }
  std::string text =
      "<h2>Trainable parameters by site</h2>\n<div class=\"card scroll\"><table><tr><th>site<th "
      "class=n>sites<th class=n>parameters<th class=n>share<th></tr>\n";
  for (const auto& family : order) {
    const auto& [count, parameters] = families[family];
    const double share = 100.0 * static_cast<double>(parameters) / total;
    const double length = 100.0 * static_cast<double>(parameters) / largest;
    text += fmt::format(
        "<tr><td><code>{}</code><td class=n>{}<td class=n>{}<td class=n>{:.1f}%<td class=bar><i "
        "style=\"width:{:.1f}%\"></i></tr>\n",
        escape_html(family), count, grouped(parameters), share, length);
  }
  return text + "</table></div>\n";
}

std::string shown(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_array() &&
      std::all_of(value.begin(), value.end(), [](const Json& v) { return v.is_string(); })) {
    return join(value.get<std::vector<std::string>>(), ", ");
  }
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string config_list(const Report& report) {
  if (report.config.empty()) return "";
  std::string text = "<h2>Configuration</h2>\n<div class=\"card config\">\n";
  for (const auto& [key, value] : report.config.items()) {
    const std::string said = shown(value);
    if (said.empty()) continue;
    text += fmt::format("<div><span>{}</span><code>{}</code></div>\n", escape_html(key),
                        escape_html(said));
  }
  return text + "</div>\n";
}

double number_at(const Json& row, const char* key) {
  const auto found = row.find(key);  // JSON has no NaN: a loss that was one is null
  return found != row.end() && found->is_number() ? found->get<double>() : std::nan("");
}

template <class Row, class Read>
std::vector<Row> read_rows(const std::string& path, Read read) {
  std::vector<Row> rows;
  if (!std::filesystem::exists(path)) return rows;
  int64_t number = 0;
  for (const auto& line : split(read_file(path), '\n')) {
    ++number;
    if (!line.empty()) rows.push_back(read(parse_json(line, fmt::format("{}:{}", path, number))));
  }
  return rows;
}

int64_t whole_at(const Json& row, const char* key) {
  const auto found = row.find(key);
  return found != row.end() && found->is_number_integer() ? found->get<int64_t>() : 0;
}

}  // namespace

std::string report_html(const Report& report) {
  std::string subtitle = report.method;
  for (const std::string& part :
       {readable_time(report.finished.empty() ? report.started : report.finished), report.out}) {
    if (!part.empty()) subtitle += (subtitle.empty() ? "" : " · ") + part;
  }
  if (report.status != "finished") subtitle += " · " + report.status;
  const std::string model = escape_html(report.model);
  std::string page = fmt::format(
      "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n<meta name=viewport "
      "content=\"width=device-width,initial-scale=1\">\n<meta name=color-scheme content=\"light "
      "dark\">\n<title>{} · Moxie</title>\n<style>{}</style>\n<main>\n<header><div><span "
      "class=brand>Moxie</span><h1>{}</h1><p>{}</p></div><button type=button "
      "aria-label=\"dark or light\">dark / light</button></header>\n",
      model, kReportStyle, model, escape_html(subtitle));
  page +=
      tiles(report) + charts(report) + samples(report) + sites_table(report) + config_list(report);
  page += fmt::format("<footer>moxie {}</footer>\n</main>\n<script>{}</script>\n</html>\n",
                      MOXIE_VERSION, kReportScript);
  return page;
}

std::vector<StepMetrics> read_step_metrics(const std::string& metrics_jsonl) {
  return read_rows<StepMetrics>(metrics_jsonl, [](const Json& row) {
    StepMetrics metrics;
    metrics.step = whole_at(row, "step");
    metrics.loss = number_at(row, "loss");
    metrics.learning_rate = number_at(row, "learning_rate");
    metrics.grad_norm = number_at(row, "grad_norm");
    metrics.tokens = whole_at(row, "tokens");
    metrics.tokens_seen = whole_at(row, "tokens_seen");
    metrics.seconds = number_at(row, "seconds");
    metrics.tokens_per_second = number_at(row, "tokens_per_second");
    metrics.peak_rss_mib = number_at(row, "peak_rss_mib");
    return metrics;
  });
}

std::vector<EvalMetrics> read_eval_metrics(const std::string& eval_jsonl) {
  return read_rows<EvalMetrics>(eval_jsonl, [](const Json& row) {
    EvalMetrics metrics;
    metrics.step = whole_at(row, "step");
    metrics.loss = number_at(row, "loss");
    return metrics;
  });
}

}  // namespace moxie::recipes
