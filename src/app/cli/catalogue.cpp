#include "app/cli/catalogue.h"

#include "quant/format.h"

namespace moxie::cli {

std::vector<CatalogueTable> catalogue() {
  std::vector<CatalogueTable> tables;
  CatalogueTable formats{"formats", {}};
  for (const auto& row : quant::formats()) {
    formats.rows.push_back({std::string(row.name), row->summary});
  }
  tables.push_back(std::move(formats));
  return tables;
}

}  // namespace moxie::cli
