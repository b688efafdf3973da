#pragma once
// The shapes an example may have in a file: one row of data.list each. A row is found by its keys
// (the first row of the table that fits wins) and turns one JSON object into a Record. Shapes that
// belong to other kinds of training are recognised too, and refused with what to do instead.
// Source: the dataset formats of TRL's documentation; alpaca and sharegpt as commonly published.
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/registry.h"
#include "data/record.h"

namespace moxie::data {

struct Shape {
  std::string_view summary = {};             // one line, for help and docs
  std::vector<std::string_view> needs = {};  // keys that must be there and not null
  std::vector<std::string_view> takes = {};  // further keys that are read
  bool (*fits)(const Json& row) = nullptr;   // beyond the keys; null: the keys decide
  // Throws kCorruptData that starts with `where`; null for a shape that is refused.
  Record (*convert)(const Json& row, std::string_view where) = nullptr;
  std::string_view refusal = {};  // why, when convert is null
  std::string_view example = {};  // one line of JSONL
};

Table<Shape> shape_table();

// The shape of a row; `name` empty detects it from the keys. Throws kInvalidArgument for a name
// that is not in the table and kCorruptData when the row does not fit (with its keys and what
// would).
const Named<Shape>& shape_of(const Json& row, std::string_view name, std::string_view where);

// The record of one row, checked.
Record to_record(const Json& row, std::string_view name, std::string_view where);

}  // namespace moxie::data
