#pragma once
// What the metadata of a GGUF file must say of itself whatever reads it (rule G11): the
// vocabulary's arrays have the right element types and one length, byte tokens are spelled <0xHH>,
// and the number of blocks is one that a model can have. Throws kCorruptData.
#include "io/gguf.h"

namespace moxie::io {

constexpr int64_t kMaxBlockCount = 512;

void check_gguf_metadata(const GgufFile& file);

}  // namespace moxie::io
