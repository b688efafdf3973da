#include "app/cli/terminal.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "base/text_util.h"

namespace moxie::cli {

Terminal Terminal::of(int fd) {
  Terminal terminal;
  terminal.is_terminal = ::isatty(fd) == 1;
  const char* no_color = std::getenv("NO_COLOR");
  const char* kind = std::getenv("TERM");
  const bool is_dumb = kind == nullptr || std::string_view(kind) == "dumb";
  terminal.has_color = terminal.is_terminal && !is_dumb && (no_color == nullptr || *no_color == 0);
  winsize size{};
  if (terminal.is_terminal && ::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20) {
    terminal.width = size.ws_col;
  }
  return terminal;
}

std::string Terminal::paint(std::string_view code, std::string_view text) const {
  if (!has_color) return std::string(text);
  return fmt::format("\033[{}m{}\033[0m", code, text);
}

int display_width(std::string_view text) {
  int width = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte == 0x1B) {
      while (i < text.size() && text[i] != 'm') ++i;
    } else if ((byte & 0xC0) != 0x80) {
      ++width;
    }
  }
  return width;
}

std::string TextTable::render(const Terminal& terminal) const {
  std::vector<int> widths(header.size(), 0);
  const auto measure = [&](const std::vector<std::string>& row) {
    for (size_t i = 0; i < row.size() && i < widths.size(); ++i) {
      widths[i] = std::max(widths[i], display_width(row[i]));
    }
  };
  measure(header);
  for (const auto& row : rows) measure(row);
  std::string text;
  const auto emit = [&](const std::vector<std::string>& row, bool is_header) {
    std::string line;
    for (size_t i = 0; i < row.size() && i < widths.size(); ++i) {
      if (i > 0) line += "  ";
      const std::string pad(static_cast<size_t>(widths[i] - display_width(row[i])), ' ');
      const bool is_right = i < right.size() && right[i];
      line += is_right ? pad + row[i] : row[i] + pad;
    }
    while (!line.empty() && line.back() == ' ') line.pop_back();
    text += (is_header ? terminal.bold(line) : line) + "\n";
  };
  if (std::any_of(header.begin(), header.end(), [](const auto& cell) { return !cell.empty(); })) {
    emit(header, true);
  }
  for (const auto& row : rows) emit(row, false);
  return text;
}

std::string wrap(std::string_view text, int width, int indent) {
  std::string wrapped;
  int column = indent;
  for (const auto& word : split(text, ' ')) {
    const int length = display_width(word);
    if (column > indent && column + 1 + length > width) {
      wrapped += '\n';
      wrapped.append(static_cast<size_t>(indent), ' ');
      column = indent;
    } else if (column > indent) {
      wrapped += ' ';
      ++column;
    }
    wrapped += word;
    column += length;
  }
  return wrapped;
}

std::string printable(std::string_view text) {
  std::string shown;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool is_control = (byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7F;
    if (is_control) {
      shown += fmt::format("\\x{:02x}", byte);
    } else {
      shown += c;
    }
  }
  return shown;
}

}  // namespace moxie::cli
