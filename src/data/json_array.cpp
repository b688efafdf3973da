// A JSON file that is one array: its elements are cut out by counting brackets outside of strings,
// and parsed one at a time, so that the array is never in memory as a whole.
#include <utility>

#include "base/error.h"
#include "data/rows.h"

namespace moxie::data {
namespace {

class JsonArrayReader : public RowReader {
 public:
  explicit JsonArrayReader(ByteSource source) : source_(std::move(source)) {}

  bool next(Json& row) override {
    if (is_done_) return false;
    if (!is_open_ && !open()) return false;
    skip_space();
    where_ = source_.at(source_.line());
    if (source_.peek() == ']' && is_first_) {
      source_.get();
      finish();
      return false;
    }
    const bool is_too_long = read_element();
    if (source_.get() == ']') finish();
    is_first_ = false;
    if (is_too_long) too_long(where_, "element");
    row = parse_row(element_, where_);
    return true;
  }

 private:
  bool open() {
    skip_space();
    where_ = source_.at(source_.line());
    if (source_.peek() == ByteSource::kEnd) {
      is_done_ = true;
      return false;
    }
    if (source_.get() != '[') {
      broken(
          "a .json data file is one array of objects; put them in [ ], or name the file .jsonl "
          "with one object a line");
    }
    is_open_ = true;
    return true;
  }

  // Behind the closing bracket nothing may follow.
  void finish() {
    is_done_ = true;
    skip_space();
    if (source_.peek() == ByteSource::kEnd) return;
    where_ = source_.at(source_.line());
    broken("there is something behind the array's closing ]; remove it");
  }

  // One element into element_, up to the comma or bracket behind it; true when it is too long.
  bool read_element() {
    element_.clear();
    bool is_text = false, is_escaped = false, is_too_long = false;
    int64_t depth = 0;
    for (int byte = source_.peek(); byte != ByteSource::kEnd; byte = source_.peek()) {
      if (!is_text && depth == 0 && (byte == ',' || byte == ']')) return is_too_long;
      source_.get();
      if (is_text) {
        if (byte == '"' && !is_escaped) is_text = false;
        is_escaped = byte == '\\' && !is_escaped;
      } else if (byte == '"') {
        is_text = true;
      } else if (byte == '{' || byte == '[') {
        ++depth;
      } else if (byte == '}' || byte == ']') {
        --depth;
      }
      if (element_.size() >= kMaxRecordBytes) is_too_long = true;
      if (!is_too_long) element_.push_back(static_cast<char>(byte));
    }
    broken(
        "the file ends in the middle of the array that starts with [; it is cut off, or a quote "
        "or bracket is missing in this element");
  }

  void skip_space() {
    while (source_.peek() == ' ' || source_.peek() == '\t' || source_.peek() == '\r' ||
           source_.peek() == '\n') {
      source_.get();
    }
  }

  [[noreturn]] void broken(std::string_view why) {
    is_broken_ = true;
    is_done_ = true;
    fail(ErrorCode::kCorruptData, where_, "{}", why);
  }

  ByteSource source_;
  std::string element_;
  bool is_open_ = false, is_first_ = true, is_done_ = false;
};

}  // namespace

std::unique_ptr<RowReader> make_json_array_reader(ByteSource source) {
  return std::make_unique<JsonArrayReader>(std::move(source));
}

}  // namespace moxie::data
