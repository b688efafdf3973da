#pragma once
// A tokenizer as the vocabulary a GGUF file carries: the reverse of Tokenizer::from_vocab. A file
// names its pre-tokenizer and its treatment of spaces instead of spelling them out, so those are
// found by trial: the settings under which the vocabulary, made a tokenizer again, gives the
// source's ids on telling texts. Where none does, the tokenizer is refused.
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace moxie::text {

struct SpecialIds {
  std::optional<int32_t> bos = {}, eos = {}, pad = {};
};

// `rows`: tokens the model has embeddings for; what the vocabulary lacks of them is filled with
// unused names, and added tokens beyond them are left out. `texts` decide between settings. Throws
// kUnsupported with the way out.
VocabSpec vocab_of(const Tokenizer& tokenizer, int64_t rows, const SpecialIds& ids,
                   const std::vector<std::string>& texts, std::string_view where);

// Texts that tell tokenizers apart: languages, digits, white space, emoji, contractions, code, the
// added tokens between words, and a sample of the vocabulary itself. Token ids from `rows` on are
// left out.
std::vector<std::string> telling_texts(const Tokenizer& tokenizer, int64_t rows);
// The first of the texts whose ids differ, or nothing.
std::optional<std::string> first_difference(const Tokenizer& a, const Tokenizer& b,
                                            const std::vector<std::string>& texts);

}  // namespace moxie::text
