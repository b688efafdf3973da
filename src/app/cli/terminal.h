#pragma once
// What may be written to a stream: colour and animation only on a terminal, and NO_COLOR is obeyed
// (no-color.org). Also tables and wrapped text.
#include <string>
#include <string_view>
#include <vector>

namespace moxie::cli {

struct Terminal {
  bool is_terminal = false;
  bool has_color = false;
  int width = 80;

  static Terminal of(int fd);
  std::string bold(std::string_view text) const { return paint("1", text); }
  std::string dim(std::string_view text) const { return paint("2", text); }
  std::string red(std::string_view text) const { return paint("31", text); }
  std::string green(std::string_view text) const { return paint("32", text); }
  std::string yellow(std::string_view text) const { return paint("33", text); }
  std::string cyan(std::string_view text) const { return paint("36", text); }
  std::string paint(std::string_view code, std::string_view text) const;
};

// Columns that the text takes on a terminal: characters, without escape sequences.
int display_width(std::string_view text);

struct TextTable {
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
  std::vector<bool> right;  // columns of numbers; missing entries are left-aligned
  std::string render(const Terminal& terminal) const;
};

// Breaks at spaces so that no line passes `width`; later lines start with `indent` spaces.
std::string wrap(std::string_view text, int width, int indent);
// Control characters other than tab and newline become visible: output of a model or a file must
// not drive the terminal.
std::string printable(std::string_view text);

}  // namespace moxie::cli
