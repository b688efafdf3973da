// ids_[prefix_..read_) is text that has been handed out whole and gives the decoder its context
// (some decoders treat the first token of a list differently). Behind it, a tail of U+FFFD may be a
// character whose bytes have not all come: what stands before the tail is handed out as long as it
// continues what was handed out already. (Byte-fallback decoders take a run of byte tokens back to
// U+FFFD while it is incomplete, so it may not.)
#include "text/tokenizer.h"

namespace moxie::text {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
// A character has at most four bytes, so three can be missing their last.
constexpr int kMostMissing = 3;
// Ids after which bytes that never become text are given up as broken.
constexpr size_t kMostPending = 12;

std::string_view without_tail(std::string_view text) {
  for (int i = 0; i < kMostMissing && text.ends_with(kReplacement); ++i) {
    text.remove_suffix(kReplacement.size());
  }
  return text;
}

}  // namespace

std::string StreamDecoder::text_from(size_t first) const {
  return tokenizer_->decode({ids_.begin() + static_cast<std::ptrdiff_t>(first), ids_.end()});
}

std::string StreamDecoder::hand_out(std::string text) {
  prefix_ = read_;
  read_ = ids_.size();
  given_ = text_from(prefix_);
  return text;
}

std::string StreamDecoder::push(int32_t id) {
  ids_.push_back(id);
  const std::string all = text_from(prefix_);
  const std::string_view certain = without_tail(all);
  if (!certain.starts_with(given_)) {
    return ids_.size() - read_ > kMostPending ? hand_out(text_from(read_)) : std::string();
  }
  std::string fresh(certain.substr(given_.size()));
  if (certain.size() == all.size()) return hand_out(std::move(fresh));
  given_ = certain;
  return fresh;
}

std::string StreamDecoder::flush() {
  const std::string all = text_from(prefix_);
  std::string rest = all.starts_with(given_) ? all.substr(given_.size()) : text_from(read_);
  ids_.clear();
  given_.clear();
  prefix_ = read_ = 0;
  return rest;
}

}  // namespace moxie::text
