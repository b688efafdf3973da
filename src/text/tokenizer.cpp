#include "text/tokenizer.h"

#include "base/error.h"
#include "text/bridge.h"

namespace moxie::text {
namespace {

constexpr std::string_view kWhere = "tokenizer";

const moxie_text_tokenizer* as_handle(void* handle) {
  return static_cast<const moxie_text_tokenizer*>(handle);
}

std::vector<moxie_text_str> to_c(const std::vector<std::string>& texts) {
  std::vector<moxie_text_str> views;
  views.reserve(texts.size());
  for (const auto& text : texts) views.push_back(text::to_c(std::string_view(text)));
  return views;
}

template <class T>
auto or_minus_one(const std::optional<T>& value) {
  using Wide = std::conditional_t<std::is_same_v<T, bool>, int32_t, int64_t>;
  return value ? static_cast<Wide>(*value) : Wide{-1};
}

void check_lengths(const VocabSpec& vocab, std::string_view where) {
  const size_t tokens = vocab.tokens.size();
  if (!vocab.scores.empty() && vocab.scores.size() != tokens) {
    fail(ErrorCode::kCorruptData, where, "{} scores for {} tokens; there must be one for each",
         vocab.scores.size(), tokens);
  }
  if (!vocab.types.empty() && vocab.types.size() != tokens) {
    fail(ErrorCode::kCorruptData, where, "{} token types for {} tokens; there must be one for each",
         vocab.types.size(), tokens);
  }
}

}  // namespace

Tokenizer::Tokenizer(void* handle) : handle_(handle) {}
Tokenizer::Tokenizer(Tokenizer&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
Tokenizer& Tokenizer::operator=(Tokenizer&& other) noexcept {
  std::swap(handle_, other.handle_);
  return *this;
}
Tokenizer::~Tokenizer() {
  moxie_text_tokenizer_free(static_cast<moxie_text_tokenizer*>(handle_));
}

Tokenizer Tokenizer::from_json(std::string_view tokenizer_json, std::string_view where) {
  return Tokenizer(call<moxie_text_tokenizer*>(where, moxie_text_tokenizer_from_json,
                                               text::to_c(tokenizer_json)));
}

Tokenizer Tokenizer::from_vocab(const VocabSpec& vocab, std::string_view where) {
  check_lengths(vocab, where);
  const auto tokens = to_c(vocab.tokens);
  const auto merges = to_c(vocab.merges);
  moxie_text_vocab in{};
  in.model = text::to_c(std::string_view(vocab.model));
  in.pre = text::to_c(std::string_view(vocab.pre));
  in.tokens = tokens.data();
  in.token_count = tokens.size();
  in.scores = vocab.scores.empty() ? nullptr : vocab.scores.data();
  in.types = vocab.types.empty() ? nullptr : vocab.types.data();
  in.merges = merges.data();
  in.merge_count = merges.size();
  in.charsmap = text::to_c(std::string_view(vocab.charsmap));
  in.bos = or_minus_one(vocab.bos);
  in.eos = or_minus_one(vocab.eos);
  in.unk = or_minus_one(vocab.unk);
  in.add_bos = or_minus_one(vocab.add_bos);
  in.add_eos = or_minus_one(vocab.add_eos);
  in.add_space_prefix = or_minus_one(vocab.add_space_prefix);
  in.remove_extra_whitespaces = or_minus_one(vocab.remove_extra_whitespaces);
  return Tokenizer(call<moxie_text_tokenizer*>(where, moxie_text_tokenizer_from_vocab,
                                               static_cast<const moxie_text_vocab*>(&in)));
}

Encoding Tokenizer::encode(std::string_view text, EncodeOptions options) const {
  const auto out =
      call<moxie_text_encoding>(kWhere, moxie_text_encode, as_handle(handle_), text::to_c(text),
                                int32_t{options.add_special}, int32_t{options.parse_special});
  Encoding encoding;
  encoding.ids.assign(out.ids, out.ids + out.count);
  encoding.offsets.reserve(out.count);
  for (size_t i = 0; i < out.count; ++i) {
    encoding.offsets.emplace_back(out.offsets[2 * i], out.offsets[2 * i + 1]);
  }
  moxie_text_encoding_free(out);
  return encoding;
}

std::string Tokenizer::decode(const std::vector<int32_t>& ids, bool skip_special) const {
  return take(call<moxie_text_buffer>(kWhere, moxie_text_decode, as_handle(handle_), ids.data(),
                                      ids.size(), int32_t{skip_special}));
}

std::string Tokenizer::token_text(int32_t id) const {
  return take(call<moxie_text_buffer>(kWhere, moxie_text_token_text, as_handle(handle_), id));
}

std::optional<int32_t> Tokenizer::token_id(std::string_view token) const {
  const int64_t id = moxie_text_token_id(as_handle(handle_), text::to_c(token));
  if (id < 0) return std::nullopt;
  return static_cast<int32_t>(id);
}

int64_t Tokenizer::vocab_size() const {
  return moxie_text_vocab_size(as_handle(handle_));
}

bool Tokenizer::is_special(int32_t id) const {
  return moxie_text_is_special(as_handle(handle_), id) != 0;
}

std::string Tokenizer::to_json() const {
  return take(call<moxie_text_buffer>(kWhere, moxie_text_tokenizer_json, as_handle(handle_)));
}

std::string Tokenizer::vocabulary_json() const {
  return take(call<moxie_text_buffer>(kWhere, moxie_text_tokenizer_vocab, as_handle(handle_)));
}

}  // namespace moxie::text
