#include "data/reader.h"

#include <utility>

#include "base/error.h"
#include "data/rows.h"
#include "data/shape.h"

namespace moxie::data {
namespace {

std::unique_ptr<RowReader> open_file(const std::filesystem::path& path, bool& is_text) {
  ByteSource source(path);
  if (source.peek() == ByteSource::kEnd) {
    fail(ErrorCode::kCorruptData, source.name(), "the data file is empty; put examples into it");
  }
  const FileKind kind = kind_of_file(source);
  is_text = kind == FileKind::kText;
  return make_row_reader(std::move(source), kind);
}

}  // namespace

Reader::Reader(const std::filesystem::path& path, ReadOptions options)
    : options_(std::move(options)), name_(path.string()) {
  if (!options_.format.empty()) require_row(shape_table(), "format", options_.format);
  source_ = open_file(path, is_document_);
  if (is_document_ && !options_.format.empty() && options_.format != "text") {
    fail(ErrorCode::kInvalidArgument, name_,
         "format '{}' was asked for, but this is a plain text file; name it .jsonl, .json or .csv",
         options_.format);
  }
}

Reader::Reader(std::string bytes, std::string name, FileKind kind, ReadOptions options)
    : options_(std::move(options)), name_(name), is_document_(kind == FileKind::kText) {
  source_ = make_row_reader(ByteSource(std::move(bytes), std::move(name)), kind);
}

Reader::Reader(Reader&&) noexcept = default;
Reader& Reader::operator=(Reader&&) noexcept = default;
Reader::~Reader() = default;

std::optional<Record> Reader::next() {
  Json row;
  for (;;) {
    try {
      if (!source_->next(row)) break;
      Record record = to_record(row, is_document_ ? "text" : options_.format, source_->where());
      record.is_document = is_document_;
      ++rows_;
      return record;
    } catch (const Error& error) {
      const bool is_about_the_row =
          error.code() == ErrorCode::kCorruptData || error.code() == ErrorCode::kUnsupported;
      if (!options_.skip_bad || source_->is_broken() || !is_about_the_row) throw;
      if (skipped_++ == 0) first_skip_ = error.what();
    }
  }
  if (rows_ == 0) {
    fail(ErrorCode::kCorruptData, name_, "the data file holds no example{}",
         skipped_ > 0
             ? fmt::format(": all {} rows are bad, the first because {}", skipped_, first_skip_)
             : "; put examples into it");
  }
  return std::nullopt;
}

}  // namespace moxie::data
