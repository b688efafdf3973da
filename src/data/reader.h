#pragma once
// Streamed reading of data files: JSONL, a JSON array, CSV (RFC 4180, with a header row) and plain
// text, one Record at a time, so that memory does not grow with the file. Nothing in the file is
// trusted: lengths, nesting, UTF-8 and types are checked, and what is wrong is told as file:line.
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "data/record.h"

namespace moxie::data {

struct ReadOptions {
  std::string format = {};  // a name of data.list; empty: detected row by row from the keys
  bool skip_bad = false;    // leave out bad rows and count them, instead of stopping at the first

  void visit(auto& v) {
    v("format", format, "shape of the examples (see the data formats); empty: told by their keys");
    v("skip_bad", skip_bad, "leave out bad rows and count them, instead of stopping at the first");
  }
};

// How a file is cut into rows. Detected from the name (.jsonl .ndjson .json .csv .txt .md), for
// other names from the first character.
enum class FileKind { kJsonl, kJsonArray, kCsv, kText };

class RowReader;  // cuts one kind of file into JSON objects

class Reader {
 public:
  explicit Reader(const std::filesystem::path& path, ReadOptions options = {});
  // Reads from memory, as a file of that name and kind (tests, fuzzing).
  Reader(std::string bytes, std::string name, FileKind kind, ReadOptions options = {});
  Reader(Reader&&) noexcept;
  Reader& operator=(Reader&&) noexcept;
  ~Reader();

  // The next example; empty at the end. Throws kCorruptData for a bad row (unless skip_bad), for a
  // file that breaks off in the middle of a structure, and for a file without any example.
  std::optional<Record> next();
  int64_t rows() const { return rows_; }                         // read so far, good ones
  int64_t skipped() const { return skipped_; }                   // bad rows that were left out
  const std::string& first_skip() const { return first_skip_; }  // why the first one was

 private:
  std::unique_ptr<RowReader> source_;
  ReadOptions options_;
  std::string name_;
  bool is_document_ = false;
  int64_t rows_ = 0, skipped_ = 0;
  std::string first_skip_;
};

}  // namespace moxie::data
