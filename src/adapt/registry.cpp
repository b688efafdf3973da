// The table of PEFT methods, filled from adapt.list.
#include "adapt/method.h"

namespace moxie::adapt {

#define ENTRY(name) extern const MethodEntry name##_entry;
#include "adapt/adapt.list"
#undef ENTRY

Table<MethodEntry> methods() {
  static const Named<MethodEntry> rows[] = {
#define ENTRY(name) {#name, &name##_entry},
#include "adapt/adapt.list"
#undef ENTRY
  };
  return rows;
}

}  // namespace moxie::adapt
