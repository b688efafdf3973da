// report.html: stands alone, escapes what it is given, draws what was measured. With
// MOXIE_REPORT_OUT set, the page of the example run is written there, to be looked at.
#include "recipes/report.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <regex>

#include "base/rng.h"
#include "recipes/report_chart.h"

namespace moxie::recipes {
namespace {

train::EvalMetrics eval_at(int64_t step, double loss) {
  train::EvalMetrics metrics;
  metrics.step = step;
  metrics.loss = loss;
  return metrics;
}

Report example() {
  Report report;
  report.model = "SmolLM2-135M-Instruct";
  report.method = "LoRA, rank 16";
  report.out = "home-commands";
  report.finished = "2026-01-31T12:04:20Z";
  report.seconds = 241;
  report.total_parameters = 134515008;
  report.facts = {{"exact match, held out", "2% to 94%"}};
  Rng rng(1);
  const int64_t steps = 240;
  for (int64_t step = 1; step <= steps; ++step) {
    const double part = static_cast<double>(step) / static_cast<double>(steps);
    const double warm = std::min(1.0, static_cast<double>(step) / 8);
    train::StepMetrics metrics;
    metrics.step = step;
    metrics.loss = (0.08 + 2.6 * std::exp(-part * 9)) * std::exp(0.18 * rng.normal());
    metrics.learning_rate = 2e-4 * warm * 0.5 * (1 + std::cos(M_PI * part));
    metrics.grad_norm = (0.5 + 3 * std::exp(-part * 6)) * std::exp(0.25 * rng.normal());
    metrics.tokens_seen = step * 520;
    metrics.tokens_per_second = 560 + 12 * rng.normal();
    metrics.peak_rss_mib = 612;
    report.steps.push_back(metrics);
    if (step % 40 == 0) report.evals.push_back(eval_at(step, 0.1 + 2.2 * std::exp(-part * 8)));
  }
  report.samples = {
      {"Could you dim the bedroom lamp to a third?",
       R"({"device":"lamp","room":"bedroom","set":33})",
       "Sure! To dim the bedroom lamp, you can use the dimmer switch on the wall or the app that "
       "came "
       "with your lamp.",
       R"({"device":"lamp","room":"bedroom","set":33})"},
      {"kill the music in the kitchen", R"({"device":"speaker","room":"kitchen","set":"off"})",
       "I'm sorry, but I can't do that.", R"({"device":"speaker","room":"kitchen","set":"off"})"}};
  for (int layer = 0; layer < 30; ++layer) {
    const std::string at = "layers." + std::to_string(layer);
    for (const auto& [name, count] :
         std::initializer_list<std::pair<const char*, int64_t>>{{"attn.q", 18432},
                                                                {"attn.k", 12288},
                                                                {"attn.v", 12288},
                                                                {"attn.o", 18432},
                                                                {"mlp.gate", 33792},
                                                                {"mlp.up", 33792},
                                                                {"mlp.down", 33792}}) {
      report.sites.push_back({at + "." + name, count});
    }
  }
  report.config = {{"model", "SmolLM2-135M-Instruct"},
                   {"data", {"train.jsonl"}},
                   {"method", "lora"},
                   {"rank", 16},
                   {"alpha", 32},
                   {"lr", 2e-4},
                   {"schedule", "cosine"},
                   {"epochs", 3},
                   {"batch_size", 8},
                   {"seed", 0}};
  return report;
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(ReportPage, HoldsEverythingItWasGiven) {
  const std::string page = report_html(example());
  if (const char* out = std::getenv("MOXIE_REPORT_OUT")) std::ofstream(out) << page;
  for (const char* part :
       {"SmolLM2-135M-Instruct", "exact match, held out", "2% to 94%", "Loss", "Learning rate",
        "Gradient norm", "tokens/s", "held out", "kill the music in the kitchen", "layers.*.attn.q",
        "batch_size", "4m 01s", "4.88M", "1,013,760", "2026-01-31 12:04 UTC"}) {
    EXPECT_TRUE(has(page, part)) << part;
  }
}

TEST(ReportPage, StandsAlone) {
  const std::string page = report_html(example());
  EXPECT_FALSE(has(page, "http:"));
  EXPECT_FALSE(has(page, "https:"));
  EXPECT_FALSE(std::regex_search(page, std::regex("<(link|img|iframe)|@import|url\\(| src=")));
}

TEST(ReportPage, TextFromDataStaysText) {
  const std::string evil = "</script><script>alert(1)</script>\"'&<img onerror=x>";
  Report report = example();
  report.model = report.method = report.out = report.finished = evil;
  report.facts = {{evil, evil}};
  report.samples = {{evil, evil, evil, evil}};
  report.sites = {{evil, 3}};
  report.config = {{evil, evil}, {"list", {evil}}, {"deep", {{evil, 1}}}};
  const std::string page = report_html(report);
  EXPECT_FALSE(has(page, "<script>alert"));
  EXPECT_FALSE(has(page, "<img"));
  EXPECT_GT(std::count(page.begin(), page.end(), '&'), 40);
}

TEST(ReportPage, AnEmptyRunAndNotANumberAreDrawn) {
  EXPECT_FALSE(has(report_html({}), "<svg"));
  Report report = example();
  report.steps[5].loss = std::nan("");
  report.steps.back().loss = std::numeric_limits<double>::infinity();
  report.evals = {eval_at(7, 1.5)};
  const std::string page = report_html(report);
  EXPECT_FALSE(std::regex_search(page, std::regex(" d=\"[^\"]*(nan|inf)")));
}

TEST(ReportChart, TicksAreRoundAndInside) {
  EXPECT_EQ(ticks(0, 10, 5), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  const auto marks = ticks(0.13, 0.41, 4);
  ASSERT_FALSE(marks.empty());
  EXPECT_GE(marks.front(), 0.13);
  EXPECT_LE(marks.back(), 0.41 + 1e-9);
  EXPECT_TRUE(ticks(1, 1, 4).empty());
}

TEST(ReportChart, LogarithmicTicks) {
  EXPECT_EQ(log_ticks(0.009, 150).size(), 5u);  // 0.01, 0.1, 1, 10, 100
  const auto few = log_ticks(0.9, 6);
  ASSERT_EQ(few.size(), 3u);
  EXPECT_DOUBLE_EQ(few[1], 2);
  EXPECT_TRUE(log_ticks(0, 1).empty());
  EXPECT_TRUE(log_ticks(1, INFINITY).empty());
}

TEST(ReportChart, ThinningKeepsTheMeanAndTheLastStep) {
  Series series{"a", "train", {}, {}};
  for (int i = 0; i < 1000; ++i) {
    series.x.push_back(i);
    series.y.push_back(i % 2);
  }
  const Series thin = thin_out(series, 100);
  ASSERT_EQ(thin.x.size(), 100u);
  EXPECT_EQ(thin.x.back(), 999);
  for (const double y : thin.y) EXPECT_DOUBLE_EQ(y, 0.5);
}

TEST(ReportChart, SmoothingStartsAtTheFirstValue) {
  const Series line{"a", "train", {1, 2, 3}, {4, 4, 4}};
  EXPECT_EQ(smooth(line, 10).y, line.y);
  const Series step{"a", "train", {1, 2}, {0, 1}};
  const double second = smooth(step, 10).y[1];
  EXPECT_GT(second, 0.5);
  EXPECT_LT(second, 0.6);
}

TEST(ReportChart, NumbersAreShort) {
  EXPECT_EQ(compact_number(2e-4), "2e-4");
  EXPECT_EQ(compact_number(1e-3), "1e-3");
  EXPECT_EQ(compact_number(0.25), "0.25");
  EXPECT_EQ(compact_number(1500), "1500");
  EXPECT_EQ(compact_number(4884480), "4.88M");
  EXPECT_EQ(compact_number(0), "0");
}

TEST(ReportFiles, MetricsFilesAreRead) {
  const std::string path = ::testing::TempDir() + "metrics.jsonl";
  std::ofstream(path) << R"({"step":1,"loss":2.5,"learning_rate":1e-4,"grad_norm":1,"tokens":10,)"
                      << R"("tokens_per_second":5,"peak_rss_mib":100})"
                      << "\n"
                      << R"({"step":2,"loss":null})"
                      << "\n";
  const auto rows = read_step_metrics(path);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].loss, 2.5);
  EXPECT_EQ(rows[0].peak_rss_mib, 100);
  EXPECT_EQ(rows[1].step, 2);
  EXPECT_TRUE(std::isnan(rows[1].loss));
  EXPECT_TRUE(read_step_metrics(path + ".none").empty());
}

}  // namespace
}  // namespace moxie::recipes
