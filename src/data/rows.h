#pragma once
// What Reader reads from: one class a kind of file, each giving one JSON object a row.
#include <memory>
#include <string>

#include "data/reader.h"
#include "data/source.h"

namespace moxie::data {

class RowReader {
 public:
  virtual ~RowReader() = default;
  // The next row; false at the end. Throws when the row is bad: the reader is then behind it and
  // can go on, unless is_broken().
  virtual bool next(Json& row) = 0;
  // The file's structure is lost: nothing behind this point can be read.
  bool is_broken() const { return is_broken_; }
  const std::string& where() const { return where_; }  // file:line of the row last read

 protected:
  std::string where_;
  bool is_broken_ = false;
};

FileKind kind_of_file(ByteSource& source);
std::unique_ptr<RowReader> make_row_reader(ByteSource source, FileKind kind);

std::unique_ptr<RowReader> make_csv_reader(ByteSource source);
std::unique_ptr<RowReader> make_json_array_reader(ByteSource source);

// Throws kCorruptData above the length limit.
[[noreturn]] void too_long(std::string_view where, std::string_view what);

// One row from its JSON text, parsed within the limits for data.
Json parse_row(std::string_view text, std::string_view where);

}  // namespace moxie::data
