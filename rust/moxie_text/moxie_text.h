#pragma once
// The one C header of the Rust crate moxie_text (tokenizers, minijinja). src/text is its only
// caller. Every function returns a status; anything but MOXIE_TEXT_OK fills `error` with a message
// the caller frees. Strings are UTF-8 with a length, never NUL-terminated. No panic crosses this
// boundary: it becomes MOXIE_TEXT_INTERNAL. Handles may be used from several threads at once.
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
  MOXIE_TEXT_OK = 0,
  MOXIE_TEXT_CORRUPT = 1,   // the tokenizer, vocabulary or template breaks its rules
  MOXIE_TEXT_INVALID = 2,   // the call is wrong: text that is not UTF-8, ids out of range
  MOXIE_TEXT_RAISED = 3,    // the template called raise_exception; the message is the template's
  MOXIE_TEXT_UNKNOWN = 4,   // well-formed, but of a kind that is not known (a pre-tokenizer's name)
  MOXIE_TEXT_INTERNAL = 5,  // a defect
};

typedef struct {
  const uint8_t* data;
  size_t size;
} moxie_text_str;

typedef struct {  // owned by the callee's allocator: release with moxie_text_buffer_free
  uint8_t* data;
  size_t size;
} moxie_text_buffer;

typedef struct {  // release with moxie_text_encoding_free
  int32_t* ids;
  int64_t* offsets;  // two per id: [begin, end) in bytes of the text
  size_t count;
} moxie_text_encoding;

typedef struct {  // release with moxie_text_rendered_free
  moxie_text_buffer text;
  int64_t* generated;  // two per range: [begin, end) in bytes of text
  size_t ranges;
} moxie_text_rendered;

typedef struct {  // the vocabulary of a GGUF file; ids that are not there are -1, flags too
  moxie_text_str model, pre;
  const moxie_text_str* tokens;
  size_t token_count;
  const float* scores;   // token_count of them, or null
  const int32_t* types;  // token_count of them, or null
  const moxie_text_str* merges;
  size_t merge_count;
  moxie_text_str charsmap;  // precompiled normalisation of unigram vocabularies, or empty
  int64_t bos, eos, unk;
  int32_t add_bos, add_eos, add_space_prefix, remove_extra_whitespaces;
} moxie_text_vocab;

typedef struct moxie_text_tokenizer moxie_text_tokenizer;
typedef struct moxie_text_template moxie_text_template;

void moxie_text_buffer_free(moxie_text_buffer buffer);
void moxie_text_encoding_free(moxie_text_encoding encoding);
void moxie_text_rendered_free(moxie_text_rendered rendered);

int32_t moxie_text_tokenizer_from_json(moxie_text_str json, moxie_text_tokenizer** out,
                                       moxie_text_buffer* error);
int32_t moxie_text_tokenizer_from_vocab(const moxie_text_vocab* vocab, moxie_text_tokenizer** out,
                                        moxie_text_buffer* error);
void moxie_text_tokenizer_free(moxie_text_tokenizer* tokenizer);

int32_t moxie_text_encode(const moxie_text_tokenizer* tokenizer, moxie_text_str text,
                          int32_t add_special, int32_t parse_special, moxie_text_encoding* out,
                          moxie_text_buffer* error);
int32_t moxie_text_decode(const moxie_text_tokenizer* tokenizer, const int32_t* ids, size_t count,
                          int32_t skip_special, moxie_text_buffer* out, moxie_text_buffer* error);
int32_t moxie_text_tokenizer_json(const moxie_text_tokenizer* tokenizer, moxie_text_buffer* out,
                                  moxie_text_buffer* error);
// The tokenizer as the vocabulary of a GGUF file, but for what such a file only names: a JSON object
// of model, tokens (null: no token has the id), types, scores, merges, charsmap, added {id, content}.
// MOXIE_TEXT_UNKNOWN for a kind of tokenizer that such a file has no word for.
int32_t moxie_text_tokenizer_vocab(const moxie_text_tokenizer* tokenizer, moxie_text_buffer* out,
                                   moxie_text_buffer* error);
// Names of pre-tokenizers, one for each set of rules; empty past the last. Static: nothing to free.
moxie_text_str moxie_text_pre_tokenizer(size_t index);
// The spelling of an id; MOXIE_TEXT_INVALID when there is no such id.
int32_t moxie_text_token_text(const moxie_text_tokenizer* tokenizer, int32_t id,
                              moxie_text_buffer* out, moxie_text_buffer* error);
int64_t moxie_text_token_id(const moxie_text_tokenizer* tokenizer, moxie_text_str token);  // or -1
int64_t moxie_text_vocab_size(const moxie_text_tokenizer* tokenizer);
int32_t moxie_text_is_special(const moxie_text_tokenizer* tokenizer, int32_t id);

int32_t moxie_text_template_new(moxie_text_str source, moxie_text_template** out,
                                moxie_text_buffer* error);
void moxie_text_template_free(moxie_text_template* handle);
// context: one JSON object, the variables of the template.
int32_t moxie_text_template_render(const moxie_text_template* handle, moxie_text_str context,
                                   moxie_text_rendered* out, moxie_text_buffer* error);

#ifdef __cplusplus
}
#endif
