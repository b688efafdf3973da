#include "recipes/report_chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/json.h"

namespace moxie::recipes {
namespace {

constexpr double kWidth = 1000, kHeight = 300;  // of the viewBox; it is stretched to its box

struct Axis {
  double low = 0, high = 1;  // of the logarithms when is_log
  bool is_log = false;
  double place(double value) const { return is_log ? std::log10(value) : value; }
  double at(double value) const { return (place(value) - low) / (high - low); }
  bool can_show(double value) const { return std::isfinite(place(value)); }
};

Axis span_of(const Chart& chart, bool is_x) {
  Axis axis{std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity(),
            !is_x && chart.is_log};
  for (const auto& series : chart.series) {
    for (const double value : is_x ? series.x : series.y) {
      if (!axis.can_show(value)) continue;
      axis.low = std::min(axis.low, axis.place(value));
      axis.high = std::max(axis.high, axis.place(value));
    }
  }
  if (axis.low > axis.high) return {};
  if (!is_x && chart.starts_at_zero) axis.low = std::min(axis.low, 0.0);
  if (axis.low == axis.high) {
    const double room = axis.low == 0 ? 1 : std::abs(axis.low) * 0.1;
    return {axis.low - (is_x ? 0 : room), axis.high + room, axis.is_log};
  }
  if (!is_x) {
    const double room = (axis.high - axis.low) * 0.06;
    axis.high += room;
    if (!(chart.starts_at_zero && axis.low == 0)) axis.low -= room;
  }
  return axis;
}

std::string path_of(const Series& series, const Axis& x, const Axis& y) {
  std::string path;
  bool is_open = false;
  for (size_t i = 0; i < series.x.size(); ++i) {
    if (!y.can_show(series.y[i])) {
      is_open = false;
      continue;
    }
    path += fmt::format("{}{:.1f} {:.1f}", is_open ? "L" : "M", x.at(series.x[i]) * kWidth,
                        (1 - y.at(series.y[i])) * kHeight);
    is_open = true;
  }
  return path;
}

// A dot is a line of no length with round ends: it stays round however the box is stretched.
std::string dots_of(const Series& series, const Axis& x, const Axis& y) {
  std::string path;
  for (size_t i = 0; i < series.x.size(); ++i) {
    if (!y.can_show(series.y[i])) continue;
    path += fmt::format("M{:.1f} {:.1f}h0", x.at(series.x[i]) * kWidth,
                        (1 - y.at(series.y[i])) * kHeight);
  }
  return path;
}

std::string legend(const Chart& chart) {
  if (chart.series.size() < 2) return "";
  std::string text = "<span class=legend>";
  for (const auto& series : chart.series) {
    text += fmt::format("<i class=\"key {}\"></i>{}", series.style, escape_html(series.name));
  }
  return text + "</span>";
}

// What the script reads to say the values under the pointer.
std::string data_of(const Chart& chart, const Axis& x) {
  Json series = Json::array();
  for (const auto& one : chart.series) {
    Json points = Json::array();
    for (size_t i = 0; i < one.x.size(); ++i) {
      if (std::isfinite(one.y[i])) points.push_back({one.x[i], one.y[i]});
    }
    series.push_back({{"name", one.name}, {"points", points}});
  }
  return Json{{"low", x.low}, {"high", x.high}, {"series", series}}.dump();
}

}  // namespace

std::string escape_html(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

std::string compact_number(double value) {
  const double size = std::abs(value);
  if (value == 0) return "0";
  if (size >= 1e9) return fmt::format("{:.3g}G", value / 1e9);
  if (size >= 1e6) return fmt::format("{:.3g}M", value / 1e6);
  if (size >= 1e4) return fmt::format("{:.3g}k", value / 1e3);
  if (size >= 1e-2) return fmt::format("{:.4g}", value);
  const int exponent = static_cast<int>(std::floor(std::log10(size)));
  return fmt::format("{:.3g}e{}", value / std::pow(10.0, exponent), exponent);
}

std::vector<double> ticks(double low, double high, int count) {
  const double rough = (high - low) / std::max(1, count);
  if (!(rough > 0) || !std::isfinite(rough)) return {};
  const double base = std::pow(10.0, std::floor(std::log10(rough)));
  double step = base * 10;
  for (const double factor : {1.0, 2.0, 2.5, 5.0}) {
    if (base * factor >= rough) {
      step = base * factor;
      break;
    }
  }
  std::vector<double> marks;
  for (double i = std::ceil(low / step - 1e-9); i * step <= high + step * 1e-9; ++i) {
    marks.push_back(i * step);
  }
  return marks;
}

std::vector<double> log_ticks(double low, double high) {
  std::vector<double> marks;
  if (!(low > 0) || !(high > low) || !std::isfinite(high)) return marks;
  const bool is_short = high / low < 50;
  for (int power = static_cast<int>(std::floor(std::log10(low))); power <= 300; ++power) {
    for (const double factor : {1.0, 2.0, 5.0}) {
      const double mark = factor * std::pow(10.0, power);
      if (mark > high * (1 + 1e-9)) return marks;
      if (mark >= low && (is_short || factor == 1.0)) marks.push_back(mark);
    }
  }
  return marks;
}

Series thin_out(const Series& series, size_t count) {
  if (series.x.size() <= count || count == 0) return series;
  Series thin = series;
  thin.x.clear();
  thin.y.clear();
  for (size_t bin = 0; bin < count; ++bin) {
    const size_t begin = bin * series.x.size() / count;
    const size_t end = (bin + 1) * series.x.size() / count;
    double sum = 0;
    for (size_t i = begin; i < end; ++i) sum += series.y[i];
    thin.x.push_back(series.x[end - 1]);
    thin.y.push_back(sum / static_cast<double>(end - begin));
  }
  return thin;
}

Series smooth(const Series& series, double span) {
  Series result = series;
  const double keep = 1.0 - 1.0 / std::max(1.0, span);
  double mean = 0;
  double weight = 0;
  for (size_t i = 0; i < series.y.size(); ++i) {
    if (!std::isfinite(series.y[i])) continue;
    mean = keep * mean + (1 - keep) * series.y[i];
    weight = keep * weight + (1 - keep);
    result.y[i] = mean / weight;
  }
  return result;
}

std::string chart_html(const Chart& chart) {
  const Axis x = span_of(chart, true);
  const Axis y = span_of(chart, false);
  std::string grid;
  std::string labels;
  const double floor = std::pow(10.0, y.low);
  for (const double mark :
       y.is_log ? log_ticks(floor, std::pow(10.0, y.high)) : ticks(y.low, y.high, 4)) {
    const double top = 1 - y.at(mark);
    grid += fmt::format("M0 {0:.1f}H{1}", top * kHeight, kWidth);
    labels += fmt::format("<span class=y style=\"top:{:.2f}%\">{}</span>", top * 100,
                          compact_number(mark));
  }
  for (const double mark : ticks(x.low, x.high, 5)) {
    if (mark != std::floor(mark)) continue;
    labels += fmt::format("<span class=x style=\"left:{:.2f}%\">{}</span>", x.at(mark) * 100,
                          compact_number(mark));
  }
  std::string lines;
  for (const auto& series : chart.series) {
    lines += fmt::format("<path class=\"line {}\" d=\"{}\"/>", series.style, path_of(series, x, y));
    if (series.has_dots) {
      lines +=
          fmt::format("<path class=\"dots {}\" d=\"{}\"/>", series.style, dots_of(series, x, y));
    }
  }
  return fmt::format(
      "<figure class=\"card chart{}\"><figcaption><b>{}</b><small>{}</small>{}</figcaption>"
      "<div class=plot data-chart=\"{}\"><svg viewBox=\"0 0 {} {}\" preserveAspectRatio=none "
      "role=img aria-label=\"{}\"><path class=grid d=\"{}\"/>{}</svg>{}<div class=cursor "
      "hidden></div></div><output></output></figure>\n",
      chart.is_wide ? " wide" : "", escape_html(chart.title), escape_html(chart.unit),
      legend(chart), escape_html(data_of(chart, x)), kWidth, kHeight, escape_html(chart.title),
      grid, lines, labels);
}

}  // namespace moxie::recipes
