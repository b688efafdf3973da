#pragma once
// Registries. A folder that grows holds <folder>.list with ENTRY(name) lines; CMake compiles
// name.cpp for each, and the folder's registry.cpp includes the list twice: once to declare
// `extern const T name_entry;`, once to fill a constant table of Named<T>. The name of a row is the
// token in the list; nothing else names it.
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/text_util.h"

namespace moxie {

template <class T>
struct Named {
  std::string_view name;
  const T* entry;
  const T* operator->() const { return entry; }
};

template <class T>
using Table = std::span<const Named<T>>;

template <class T>
std::vector<std::string> names_of(Table<T> table) {
  std::vector<std::string> names;
  for (const auto& row : table) names.emplace_back(row.name);
  return names;
}

template <class T>
const Named<T>* find_row(Table<T> table, std::string_view name) {
  for (const auto& row : table) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

// The row called `name`; throws kInvalidArgument with the nearest name otherwise.
template <class T>
const Named<T>& require_row(Table<T> table, std::string_view kind, std::string_view name) {
  if (const auto* row = find_row(table, name)) return *row;
  const auto names = names_of(table);
  fail(ErrorCode::kInvalidArgument, kind, "there is no {} called '{}'{}", kind, name,
       suggestion(name, names));
}

}  // namespace moxie
