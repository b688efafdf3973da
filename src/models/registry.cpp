// The table of architectures, filled from models.list.
#include "models/architecture.h"

namespace moxie::models {

#define ENTRY(name) extern const Architecture name##_entry;
#include "models/models.list"
#undef ENTRY

Table<Architecture> architectures() {
  static const Named<Architecture> rows[] = {
#define ENTRY(name) {#name, &name##_entry},
#include "models/models.list"
#undef ENTRY
  };
  return rows;
}

}  // namespace moxie::models
