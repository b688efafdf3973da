#pragma once
// Parts of a model that verbs need without the whole.
#include <filesystem>

#include "models/text_parts.h"

namespace moxie::cli {

// Only the text side of a model: no weight is touched.
models::TextParts load_text(const std::filesystem::path& path);

}  // namespace moxie::cli
