// JSONL and plain text, and the choice among the kinds of files.
#include "data/rows.h"

#include <utility>

#include "base/error.h"
#include "base/text_util.h"

namespace moxie::data {
namespace {

// Objects of more keys than this are no example; parsing them is quadratic in their number.
constexpr size_t kMaxRowKeys = 1024;

bool is_blank(std::string_view line) {
  return line.find_first_not_of(" \t\r\v\f") == std::string_view::npos;
}

void check_utf8(std::string_view text, std::string_view where) {
  if (!is_valid_utf8(text)) {
    fail(ErrorCode::kCorruptData, where,
         "the bytes are not valid UTF-8; convert the file (iconv -f latin1 -t utf-8)");
  }
}

class JsonlReader : public RowReader {
 public:
  explicit JsonlReader(ByteSource source) : source_(std::move(source)) {}

  bool next(Json& row) override {
    bool is_too_long = false;
    do {
      where_ = source_.at(source_.line());
      if (!source_.read_line(line_, is_too_long)) return false;
    } while (is_blank(line_) && !is_too_long);
    if (is_too_long) too_long(where_, "line");
    row = parse_row(line_, where_);
    return true;
  }

 private:
  ByteSource source_;
  std::string line_;
};

// Plain text: blocks of lines between blank lines, each one a row {text}.
class TextReader : public RowReader {
 public:
  explicit TextReader(ByteSource source) : source_(std::move(source)) {}

  bool next(Json& row) override {
    std::string block;
    bool is_too_long = false, is_over = false;
    int64_t first = source_.line();
    while (source_.read_line(line_, is_over)) {
      is_too_long = is_too_long || is_over || block.size() + line_.size() > kMaxRecordBytes;
      const bool is_end = is_blank(line_) && !is_over;
      if (is_end && (!block.empty() || is_too_long)) break;
      if (is_end) {
        first = source_.line();
      } else if (!is_too_long) {
        block += (block.empty() ? "" : "\n") + line_;
      }
    }
    where_ = source_.at(first);
    if (is_too_long) too_long(where_, "block of text between blank lines");
    if (block.empty()) return false;
    check_utf8(block, where_);
    row = Json{{"text", std::move(block)}};
    return true;
  }

 private:
  ByteSource source_;
  std::string line_;
};

FileKind kind_of_content(ByteSource& source) {
  const int first = source.peek();
  if (first == '{') return FileKind::kJsonl;
  if (first == '[') return FileKind::kJsonArray;
  fail(ErrorCode::kInvalidArgument, source.name(),
       "cannot tell the kind of this data file; name it .jsonl, .json, .csv or .txt");
}

}  // namespace

void too_long(std::string_view where, std::string_view what) {
  fail(ErrorCode::kCorruptData, where, "this {} is longer than {}; split or shorten it", what,
       human_bytes(kMaxRecordBytes));
}

Json parse_row(std::string_view text, std::string_view where) {
  check_utf8(text, where);
  return parse_json(text, where, kMaxRowKeys);
}

FileKind kind_of_file(ByteSource& source) {
  std::string ending = std::filesystem::path(source.name()).extension().string();
  for (char& letter : ending) letter = static_cast<char>(std::tolower(letter));
  if (ending == ".jsonl" || ending == ".ndjson") return FileKind::kJsonl;
  if (ending == ".csv") return FileKind::kCsv;
  if (ending == ".txt" || ending == ".text" || ending == ".md") return FileKind::kText;
  if (ending == ".parquet" || ending == ".gz" || ending == ".zst" || ending == ".zip" ||
      ending == ".arrow") {
    fail(ErrorCode::kUnsupported, source.name(),
         "{} files are not read; unpack or convert it to JSONL (one JSON object a line)", ending);
  }
  if (ending == ".json") {
    while (source.peek() == ' ' || source.peek() == '\t' || source.peek() == '\r' ||
           source.peek() == '\n') {
      source.get();
    }
    // Many publish JSONL under the name .json.
    return source.peek() == '{' ? FileKind::kJsonl : FileKind::kJsonArray;
  }
  return kind_of_content(source);
}

std::unique_ptr<RowReader> make_row_reader(ByteSource source, FileKind kind) {
  switch (kind) {
    case FileKind::kJsonl:
      return std::make_unique<JsonlReader>(std::move(source));
    case FileKind::kJsonArray:
      return make_json_array_reader(std::move(source));
    case FileKind::kCsv:
      return make_csv_reader(std::move(source));
    case FileKind::kText:
      return std::make_unique<TextReader>(std::move(source));
  }
  MOXIE_ASSERT(false);
  return nullptr;
}

}  // namespace moxie::data
