#pragma once
// The text parts of a Hugging Face folder as a GGUF file's tokenizer.* metadata: the reverse of
// load_text_parts.
#include <string>
#include <vector>

#include "models/text_parts.h"

namespace moxie::models {

class GgufText {
 public:
  // `rows`: tokens the model has embeddings for. `where` is the model, for messages. Throws
  // kUnsupported where a GGUF file cannot hold the tokenizer or the stops.
  GgufText(const TextParts& parts, int64_t rows, std::string where);
  void write(io::GgufWriter& file) const;
  // Throws kUnsupported unless the file, read again, gives the ids of the source.
  void check(const io::GgufFile& file) const;

 private:
  const TextParts& parts_;
  std::string where_;
  std::vector<std::string> texts_;  // what the tokenizers are compared on
  text::VocabSpec spec_;
  std::vector<int32_t> stops_;  // that the reader would not know by themselves
};

}  // namespace moxie::models
