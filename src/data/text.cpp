// {text}: running text, all of it learnt.
#include "data/fields.h"
#include "data/shape.h"

namespace moxie::data {
namespace {

Record convert(const Json& row, std::string_view where) {
  Record record;
  record.kind = Record::Kind::kText;
  record.text = need_string(row, "text", where);
  return record;
}

}  // namespace

extern const Shape text_entry;
const Shape text_entry{
    .summary = "running text, all of it learnt",
    .needs = {"text"},
    .convert = convert,
    .example = R"({"text": "The sky is blue."})",
};

}  // namespace moxie::data
