#pragma once
// Tokenizer: text to token ids and back, by Hugging Face's `tokenizers` crate behind one C header
// (rust/moxie_text). Built from a tokenizer.json, or from the vocabulary inside a GGUF file turned
// into the same object; both give the ids that transformers and llama.cpp give.
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace moxie::text {

// The vocabulary of a GGUF file (tokenizer.ggml.*), already read and length-checked.
struct VocabSpec {
  std::string
      model;        // "gpt2" (byte-level BPE), "llama" (SentencePiece BPE), "t5" (unigram), "bert"
  std::string pre;  // pre-tokenizer of gpt2: "smollm", "llama-bpe", "qwen2", ...
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<int32_t> types;  // 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte
  std::vector<std::string> merges;  // "a b"
  std::optional<int32_t> bos, eos, unk, pad;
  std::optional<bool> add_bos, add_eos, add_space_prefix;
  // Of t5 only: tokenizer.ggml.precompiled_charsmap and .remove_extra_whitespaces.
  std::string charsmap;
  std::optional<bool> remove_extra_whitespaces;
};

struct Encoding {
  std::vector<int32_t> ids;
  std::vector<std::pair<int64_t, int64_t>> offsets;  // byte ranges [begin, end) of the text, per id
};

struct EncodeOptions {
  bool add_special = true;  // what the post-processor adds (BOS)
  bool parse_special =
      true;  // text that spells a special token becomes it; false: stays plain text (T5)
};

class Tokenizer {
 public:
  static Tokenizer from_json(std::string_view tokenizer_json, std::string_view where);
  static Tokenizer from_vocab(const VocabSpec& vocab, std::string_view where);
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  Encoding encode(std::string_view text, EncodeOptions options = {}) const;
  // Text of the ids; special tokens are left out when asked. Invalid UTF-8 becomes U+FFFD.
  std::string decode(const std::vector<int32_t>& ids, bool skip_special = true) const;
  std::string token_text(int32_t id) const;  // as the vocabulary spells it
  std::optional<int32_t> token_id(std::string_view token) const;
  int64_t vocab_size() const;  // highest id + 1
  bool is_special(int32_t id) const;
  // The tokenizer.json of this tokenizer, for export.
  std::string to_json() const;
  // Its parts as lists (moxie_text_tokenizer_vocab in moxie_text.h), for vocab_of.
  std::string vocabulary_json() const;

 private:
  explicit Tokenizer(void* handle);
  void* handle_;
};

// Decodes a growing list of ids without ever emitting half of a character.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}
  std::string push(int32_t id);  // the text that became certain
  std::string flush();

 private:
  std::string text_from(size_t first) const;
  std::string hand_out(std::string text);

  const Tokenizer* tokenizer_;
  std::vector<int32_t> ids_;
  std::string given_;  // what has been handed out of the text of ids_[prefix_..]
  size_t prefix_ = 0, read_ = 0;
};

}  // namespace moxie::text
