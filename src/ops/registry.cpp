// The table of ops, filled from ops.list.
#include "ops/tape.h"

namespace moxie::ops {

#define ENTRY(name) extern const OpDef name##_entry;
#include "ops/ops.list"
#undef ENTRY

Table<OpDef> op_table() {
  static const Named<OpDef> rows[] = {
#define ENTRY(name) {#name, &name##_entry},
#include "ops/ops.list"
#undef ENTRY
  };
  return rows;
}

}  // namespace moxie::ops
