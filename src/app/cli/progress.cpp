#include "app/cli/progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/text_util.h"

namespace moxie::cli {
namespace {

constexpr auto kRedraw = std::chrono::milliseconds(100);
constexpr auto kPlainEvery = std::chrono::seconds(10);
constexpr int kWidestBar = 24;

std::string memory(double mib) {
  return human_bytes(static_cast<uint64_t>(mib * 1024 * 1024));
}

}  // namespace

StatusLine::StatusLine(const Context& context)
    : terminal_(context.err),
      is_live_(context.err.is_terminal && !context.globals.quiet),
      is_quiet_(context.globals.quiet),
      width_(context.err.width) {}

void StatusLine::set(const std::string& text, bool now) {
  if (is_quiet_) return;
  const auto time = std::chrono::steady_clock::now();
  if (!now && time - last_ < (is_live_ ? std::chrono::milliseconds(kRedraw) : kPlainEvery)) return;
  last_ = time;
  if (is_live_) {
    fmt::print(stderr, "\r\033[2K{}", text);
    is_drawn_ = true;
  } else {
    fmt::print(stderr, "{}\n", text);
  }
  std::fflush(stderr);
}

void StatusLine::say(const std::string& text) {
  if (is_quiet_) return;
  clear();
  fmt::print(stderr, "{}\n", text);
}

void StatusLine::clear() {
  if (is_drawn_) fmt::print(stderr, "\r\033[2K");
  is_drawn_ = false;
}

std::string bar(double share, int width) {
  static constexpr const char* kParts[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const double filled = std::clamp(share, 0.0, 1.0) * width;
  const int whole = static_cast<int>(filled);
  std::string text;
  for (int i = 0; i < whole; ++i) text += "█";
  int used = whole;
  if (whole < width) {
    const char* part = kParts[static_cast<int>((filled - whole) * 8)];
    text += part;
    used += *part == 0 ? 0 : 1;
  }
  for (; used < width; ++used) text += "░";
  return text;
}

void TrainProgress::on_step(const train::StepMetrics& metrics, int64_t total_steps,
                            double seconds_left) {
  std::string facts = fmt::format("step {}/{}  loss {:.4f}  {:.0f} tokens/s", metrics.step,
                                  total_steps, metrics.loss, metrics.tokens_per_second);
  if (metrics.step < total_steps) facts += fmt::format("  {} left", human_duration(seconds_left));
  facts += fmt::format("  {} peak", memory(metrics.peak_rss_mib));
  const bool is_last = metrics.step >= total_steps;
  if (!line_.is_live()) {
    line_.set(facts, metrics.step == 1 || is_last);
    return;
  }
  const double share =
      static_cast<double>(metrics.step) / static_cast<double>(std::max<int64_t>(1, total_steps));
  const int room = line_.width() - static_cast<int>(facts.size()) - 8;
  if (room >= 8) {
    const std::string drawn = line_.terminal().cyan(bar(share, std::min(room, kWidestBar)));
    facts = fmt::format("{:3.0f}% {}  {}", std::floor(share * 100), drawn, facts);
  } else {
    facts = facts.substr(0, static_cast<size_t>(std::max(0, line_.width() - 1)));
  }
  line_.set(facts, is_last);
}

void TrainProgress::on_eval(const train::EvalMetrics& metrics) {
  line_.say(fmt::format("step {}  held-out loss {:.4f}  perplexity {:.4g}{}", metrics.step,
                        metrics.loss, metrics.perplexity,
                        metrics.is_best ? "  " + line_.terminal().green("best so far") : ""));
}

void TrainProgress::on_log(const std::string& message) {
  line_.say(message);
}

void TrainProgress::on_end(const train::TrainResult& result) {
  line_.clear();
  line_.say(fmt::format("{} at step {}/{} in {}", train::to_string(result.outcome), result.step,
                        result.total_steps, human_duration(result.seconds)));
}

void CountProgress::update(uint64_t done, uint64_t total) {
  const auto amount = [&](uint64_t count) {
    return is_bytes_ ? human_bytes(count) : std::to_string(count);
  };
  std::string text = what_ + "  " + amount(done);
  if (total > 0) text += (is_bytes_ ? " of " : "/") + amount(total);
  const double seconds = clock_.seconds();
  if (seconds > 0.5 && is_bytes_) {
    text += fmt::format("  {}/s",
                        human_bytes(static_cast<uint64_t>(static_cast<double>(done) / seconds)));
  }
  if (total > 0 && done > 0 && done < total && seconds > 0.5) {
    const double left = seconds * static_cast<double>(total - done) / static_cast<double>(done);
    text += fmt::format("  {} left", human_duration(left));
  }
  if (line_.is_live() && total > 0) {
    const double share = static_cast<double>(done) / static_cast<double>(total);
    const int room = line_.width() - display_width(text) - 3;
    if (room >= 8)
      text = line_.terminal().cyan(bar(share, std::min(room, kWidestBar))) + "  " + text;
  }
  const bool is_last = total > 0 && done >= total;
  if (is_last && is_complete_) return;
  is_complete_ = is_last;
  line_.set(text, is_last);
}

}  // namespace moxie::cli
