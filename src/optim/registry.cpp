#include "optim/optimizer.h"

namespace moxie::optim {

#define ENTRY(name) extern const OptimizerDef name##_entry;
#include "optim/optim.list"
#undef ENTRY

Table<OptimizerDef> optimizers() {
  static constexpr Named<OptimizerDef> kTable[] = {
#define ENTRY(name) {#name, &name##_entry},
#include "optim/optim.list"
#undef ENTRY
  };
  return kTable;
}

}  // namespace moxie::optim
