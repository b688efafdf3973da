#include "app/cli/catalogue.h"

#include "adapt/method.h"
#include "data/shape.h"
#include "models/architecture.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"
#include "quant/format.h"

namespace moxie::cli {
namespace {

template <class T>
CatalogueTable table_of(std::string kind, Table<T> table) {
  CatalogueTable listed{std::move(kind), {}};
  for (const auto& row : table)
    listed.rows.push_back({std::string(row.name), std::string(row->summary)});
  return listed;
}

}  // namespace

std::vector<CatalogueTable> catalogue() {
  return {table_of("methods", adapt::methods()),
          table_of("architectures", models::architectures()),
          table_of("optimizers", optim::optimizers()),
          table_of("schedules", optim::schedules()),
          table_of("shapes", data::shape_table()),
          table_of("formats", quant::formats())};
}

}  // namespace moxie::cli
