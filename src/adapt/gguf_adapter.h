#pragma once
// An adapter as a GGUF file for llama.cpp (--lora). The format knows one alpha and per tensor
// scale = alpha / r, so every other scale is folded into B; what it cannot say is refused.
#include <filesystem>

#include "adapt/attachment.h"

namespace moxie::adapt {

void save_gguf_adapter(const Attachment& attachment, const models::Model& model,
                       const std::filesystem::path& path);

}  // namespace moxie::adapt
