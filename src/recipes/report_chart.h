#pragma once
// One chart of the report: lines over training steps, as SVG stretched to its box, with the axis
// labels as HTML over it so that they stay readable on a phone.
#include <string>
#include <vector>

namespace moxie::recipes {

struct Series {
  std::string name;
  std::string style;         // CSS class: "train", "eval", "faint"
  std::vector<double> x, y;  // equal lengths; not-finite values leave a gap
  bool has_dots = false;     // a dot at every point
};

struct Chart {
  std::string title;
  std::string unit;  // shown beside the title
  std::vector<Series> series;
  bool starts_at_zero = false;
  bool is_log = false;  // values that are not positive leave a gap
  bool is_wide = false;
};

std::string escape_html(std::string_view text);
std::string compact_number(double value);  // "0.0002" -> "2e-4", "12345" -> "12.3k"
std::string chart_html(const Chart& chart);

// At most `count` points, each the mean of its neighbours; the last one is kept.
Series thin_out(const Series& series, size_t count);
// Exponential moving average that forgets over about `span` points, corrected for its start.
Series smooth(const Series& series, double span);
// Round values that divide [low, high] into about `count` parts.
std::vector<double> ticks(double low, double high, int count);
// The same for a logarithmic axis: powers of ten, or 1-2-5 where there are few of them.
std::vector<double> log_ticks(double low, double high);

}  // namespace moxie::recipes
