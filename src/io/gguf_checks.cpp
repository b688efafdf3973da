#include "io/gguf_checks.h"

#include <cctype>

namespace moxie::io {
namespace {

constexpr int64_t kByteToken = 6;  // tokenizer.ggml.token_type of a token that stands for one byte

bool is_byte_token(std::string_view token) {
  return token.size() == 6 && token.starts_with("<0x") && token.back() == '>' &&
         std::isxdigit(static_cast<unsigned char>(token[3])) != 0 &&
         std::isxdigit(static_cast<unsigned char>(token[4])) != 0;
}

void check_length(const GgufFile& file, std::string_view key, size_t count, size_t tokens) {
  if (count == tokens) return;
  fail(ErrorCode::kCorruptData, file.where(), "{} has {} elements for {} tokens", key, count,
       tokens);
}

void check_vocabulary(const GgufFile& file) {
  const auto* tokens = file.get_strings("tokenizer.ggml.tokens");
  const auto scores = file.get_floats("tokenizer.ggml.scores");
  const auto types = file.get_ints("tokenizer.ggml.token_type");
  file.get_strings("tokenizer.ggml.merges");  // throws unless they are strings
  const size_t count = tokens == nullptr ? 0 : tokens->size();
  if (scores) check_length(file, "tokenizer.ggml.scores", scores->size(), count);
  if (!types) return;
  check_length(file, "tokenizer.ggml.token_type", types->size(), count);
  for (size_t i = 0; i < count; ++i) {
    if ((*types)[i] == kByteToken && !is_byte_token((*tokens)[i])) {
      fail(ErrorCode::kCorruptData, file.where(),
           "token {} is marked as a byte but is spelled '{}', not <0xHH>", i, (*tokens)[i]);
    }
  }
}

}  // namespace

void check_gguf_metadata(const GgufFile& file) {
  check_vocabulary(file);
  if (!file.has("general.architecture")) return;
  const std::string key = file.require_string("general.architecture") + ".block_count";
  const auto blocks = file.get_int(key);
  if (blocks && (*blocks < 0 || *blocks > kMaxBlockCount)) {
    fail(ErrorCode::kCorruptData, file.where(), "{} is {}; 0 to {} blocks are possible", key,
         *blocks, kMaxBlockCount);
  }
}

}  // namespace moxie::io
