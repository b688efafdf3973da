#pragma once
// The tokenizer, the chat template and the special ids of a model, from a Hugging Face folder or
// from inside a GGUF file.
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "io/gguf.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace moxie::models {

struct TextParts {
  std::unique_ptr<text::Tokenizer> tokenizer;  // null when the folder has none
  std::unique_ptr<text::ChatTemplate> chat;    // null when the model has none
  std::optional<int32_t> bos, eos, pad;
  std::vector<int32_t> stops;  // ids that end a generation: eos, end of turn, ...
};

// Those of `stops` that neither are eos nor end turns in a template of a family Moxie knows.
std::vector<int32_t> unnamed_stops(const TextParts& parts);

TextParts load_text_parts(const std::filesystem::path& folder);
TextParts load_text_parts(const io::GgufFile& file);

}  // namespace moxie::models
