// The table of data.list. Its order is the order of detection: a row with the keys of two shapes
// has the one that says more (prompt, completion and label: unpaired; messages and text: messages).
#include <algorithm>
#include <array>

#include "data/fields.h"
#include "data/shape.h"

namespace moxie::data {

#define ENTRY(name) extern const Shape name##_entry;
#include "data/data.list"
#undef ENTRY

namespace {

#define ENTRY(name) Named<Shape>{#name, &name##_entry},
constexpr std::array kTable = {
#include "data/data.list"
};
#undef ENTRY

std::string keys_of(const Json& row) {
  std::string keys;
  for (const auto& [key, value] : row.items()) {
    if (keys.size() > 200) return keys + ", ...";
    keys += (keys.empty() ? "" : ", ") + key.substr(0, 40) + (value.is_null() ? " (null)" : "");
  }
  return keys.empty() ? "none" : keys;
}

std::string wanted_keys(const Named<Shape>& row) {
  std::string text = std::string(row.name) + " {";
  for (size_t i = 0; i < row->needs.size(); ++i) {
    text += (i == 0 ? "" : ", ") + std::string(row->needs[i]);
  }
  return text + "}";
}

bool fits(const Shape& shape, const Json& row) {
  for (const std::string_view key : shape.needs) {
    if (!has_value(row, key)) return false;
  }
  return shape.fits == nullptr || shape.fits(row);
}

[[noreturn]] void no_shape(const Json& row, std::string_view where) {
  std::string known;
  for (const auto& shape : kTable) {
    if (shape->convert != nullptr) known += (known.empty() ? "" : ", ") + wanted_keys(shape);
  }
  fail(ErrorCode::kCorruptData, where,
       "the keys of this line ({}) are those of no known shape; rename them to one of: {}",
       keys_of(row), known);
}

}  // namespace

Table<Shape> shape_table() {
  return kTable;
}

const Named<Shape>& shape_of(const Json& row, std::string_view name, std::string_view where) {
  if (!row.is_object()) {
    fail(ErrorCode::kCorruptData, where,
         "this is {} where an object is needed, such as {}; correct or remove it", row.type_name(),
         find_row(shape_table(), "text")->entry->example);
  }
  if (!name.empty()) {
    const auto& chosen = require_row(shape_table(), "format", name);
    if (!fits(*chosen.entry, row)) {
      fail(ErrorCode::kCorruptData, where,
           "format {} needs the keys of {}, this line has {}; correct the line or the format", name,
           wanted_keys(chosen), keys_of(row));
    }
    return chosen;
  }
  for (const auto& shape : kTable) {
    if (fits(*shape.entry, row)) return shape;
  }
  no_shape(row, where);
}

Record to_record(const Json& row, std::string_view name, std::string_view where) {
  const auto& shape = shape_of(row, name, where);
  if (shape->convert == nullptr) fail(ErrorCode::kUnsupported, where, "{}", shape->refusal);
  Record record = shape->convert(row, where);
  record.where = where;
  return record;
}

}  // namespace moxie::data
