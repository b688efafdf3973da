// CSV by RFC 4180: a header row, comma between fields, fields with commas, quotes or line breaks in
// double quotes, a quote inside doubled. Every value is text; the columns that hold lists
// (messages, conversations, history, tools) hold them as JSON.
#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/text_util.h"
#include "data/rows.h"

namespace moxie::data {
namespace {

constexpr size_t kMaxColumns = 1024;

class CsvReader : public RowReader {
 public:
  explicit CsvReader(ByteSource source) : source_(std::move(source)) {}

  bool next(Json& row) override {
    if (header_.empty() && !read_header()) return false;
    do {
      if (!read_fields()) return false;
    } while (fields_.size() == 1 && fields_[0].empty() && header_.size() > 1);
    if (fields_.size() != header_.size()) {
      fail(ErrorCode::kCorruptData, where_,
           "this row has {} fields, the header has {}; put fields with commas, quotes or line "
           "breaks in double quotes",
           fields_.size(), header_.size());
    }
    row = Json::object();
    for (size_t i = 0; i < header_.size(); ++i) row[header_[i]] = std::move(fields_[i]);
    for (const char* key : {"prompt", "completion"}) {
      // Message lists, as a table must hold them.
      if (row.contains(key) && row[key].get_ref<const std::string&>().starts_with("[{")) {
        row[key] = parse_row(row[key].get_ref<const std::string&>(), where_);
      }
    }
    return true;
  }

 private:
  bool read_header() {
    if (!read_fields()) return false;
    for (const std::string& name : fields_) {
      if (std::count(fields_.begin(), fields_.end(), name) != 1) {
        is_broken_ = true;
        fail(ErrorCode::kCorruptData, where_, "the header names the column '{}' twice; rename one",
             name);
      }
    }
    header_ = fields_;
    return true;
  }

  // The fields of one row (which may span lines); false at the end of the file.
  bool read_fields() {
    where_ = source_.at(source_.line());
    fields_.clear();
    bytes_ = 0;
    if (source_.peek() == ByteSource::kEnd) return false;
    while (!read_field()) {
    }
    const bool is_over = bytes_ > kMaxRecordBytes;
    if (is_over || fields_.size() > kMaxColumns) {
      if (header_.empty()) is_broken_ = true;
      if (is_over) too_long(where_, "row");
      fail(ErrorCode::kCorruptData, where_, "this row has more than {} columns", kMaxColumns);
    }
    for (const std::string& field : fields_) {
      if (!is_valid_utf8(field)) {
        if (header_.empty()) is_broken_ = true;
        fail(ErrorCode::kCorruptData, where_,
             "the bytes are not valid UTF-8; convert the file (iconv -f latin1 -t utf-8)");
      }
    }
    return true;
  }

  // Reads one field and the separator behind it; true when the row ends with it.
  bool read_field() {
    std::string field;
    if (source_.peek() == '"') {
      read_quoted(field);
    } else {
      while (source_.peek() != ',' && source_.peek() != '\n' &&
             source_.peek() != ByteSource::kEnd) {
        put(field, source_.get());
      }
      if (!field.empty() && field.back() == '\r' && source_.peek() != ',') field.pop_back();
    }
    if (fields_.size() <= kMaxColumns) fields_.push_back(std::move(field));
    return source_.get() != ',';
  }

  void read_quoted(std::string& field) {
    source_.get();
    for (;;) {
      const int byte = source_.get();
      if (byte == ByteSource::kEnd) {
        is_broken_ = true;
        fail(ErrorCode::kCorruptData, where_,
             "a field of this row opens a quote that is never closed; close it, and double every "
             "quote inside a field");
      }
      if (byte != '"') {
        put(field, byte);
      } else if (source_.peek() == '"') {
        put(field, source_.get());
      } else {
        break;
      }
    }
    if (source_.peek() == '\r') source_.get();
    if (source_.peek() != ',' && source_.peek() != '\n' && source_.peek() != ByteSource::kEnd) {
      is_broken_ = true;
      fail(ErrorCode::kCorruptData, where_,
           "a quoted field is followed by '{}' instead of a comma; double every quote inside a "
           "field",
           static_cast<char>(source_.peek()));
    }
  }

  void put(std::string& field, int byte) {
    if (++bytes_ <= kMaxRecordBytes) field.push_back(static_cast<char>(byte));
  }

  ByteSource source_;
  std::vector<std::string> header_, fields_;
  size_t bytes_ = 0;  // of the row
};

}  // namespace

std::unique_ptr<RowReader> make_csv_reader(ByteSource source) {
  return std::make_unique<CsvReader>(std::move(source));
}

}  // namespace moxie::data
