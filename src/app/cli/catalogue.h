#pragma once
// The registries of all folders in one list, for people to read.
#include <string>
#include <vector>

namespace moxie::cli {

struct CatalogueRow {
  std::string name, summary;
};
struct CatalogueTable {
  std::string kind;
  std::vector<CatalogueRow> rows;
};
std::vector<CatalogueTable> catalogue();

}  // namespace moxie::cli
