// ids_[prefix_..read_) is text that has been emitted and gives the decoder its context (some
// decoders treat the first token of a list differently); what ids_[prefix_..] adds to it is new. A
// tail of U+FFFD is a character whose bytes have not all come.
#include "text/tokenizer.h"

namespace moxie::text {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
// Tokens may straddle characters, so that a run of them ends in half a character each time; what is
// still broken after so many ids is garbage and is shown as such.
constexpr size_t kMostPending = 64;

}  // namespace

std::string StreamDecoder::push(int32_t id) {
  ids_.push_back(id);
  const auto begin = ids_.begin() + static_cast<std::ptrdiff_t>(prefix_);
  const std::string before =
      tokenizer_->decode({begin, ids_.begin() + static_cast<std::ptrdiff_t>(read_)});
  const std::string all = tokenizer_->decode({begin, ids_.end()});
  if (all.size() <= before.size()) return {};
  if (all.ends_with(kReplacement) && ids_.size() - read_ <= kMostPending) return {};
  prefix_ = read_;
  read_ = ids_.size();
  return all.substr(before.size());
}

std::string StreamDecoder::flush() {
  const auto begin = ids_.begin() + static_cast<std::ptrdiff_t>(prefix_);
  const std::string before =
      tokenizer_->decode({begin, ids_.begin() + static_cast<std::ptrdiff_t>(read_)});
  const std::string all = tokenizer_->decode({begin, ids_.end()});
  ids_.clear();
  prefix_ = read_ = 0;
  return all.size() > before.size() ? all.substr(before.size()) : std::string();
}

}  // namespace moxie::text
