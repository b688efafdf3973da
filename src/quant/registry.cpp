#include "quant/format.h"

namespace moxie::quant {

#define ENTRY(name) extern const QuantFormat name##_entry;
#include "quant/quant.list"
#undef ENTRY

namespace {
const Named<QuantFormat> kFormats[] = {
#define ENTRY(name) {#name, &name##_entry},
#include "quant/quant.list"
#undef ENTRY
};
}  // namespace

Table<QuantFormat> formats() {
  return kFormats;
}

const Named<QuantFormat>* find_format(int gguf_type) {
  for (const auto& row : kFormats) {
    if (row->gguf_type == gguf_type) return &row;
  }
  return nullptr;
}

}  // namespace moxie::quant
