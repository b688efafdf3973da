#include "models/gguf_text.h"

#include <algorithm>

#include "base/error.h"
#include "models/gguf_keys.h"
#include "text/vocab_of.h"

namespace moxie::models {
namespace {

const text::Tokenizer& tokenizer_of(const TextParts& parts, const std::string& where) {
  if (!parts.tokenizer) {
    fail(ErrorCode::kUnsupported, where,
         "the model has no tokenizer, and a GGUF file holds one; put its tokenizer.json into the "
         "folder");
  }
  return *parts.tokenizer;
}

constexpr const char* kStopKeys[] = {key::kEot, key::kEom};

}  // namespace

GgufText::GgufText(const TextParts& parts, int64_t rows, std::string where)
    : parts_(parts),
      where_(std::move(where)),
      texts_(text::telling_texts(tokenizer_of(parts, where_), rows)),
      spec_(text::vocab_of(*parts.tokenizer, rows, {parts.bos, parts.eos, parts.pad}, texts_,
                           where_)),
      stops_(unnamed_stops(parts)) {
  if (stops_.size() <= std::size(kStopKeys)) return;
  fail(ErrorCode::kUnsupported, where_,
       "generation_config.json lists {} tokens as eos_token_id that no template of a known family "
       "ends a turn with, and a GGUF file holds {}; shorten the list, or export it as hf",
       stops_.size(), std::size(kStopKeys));
}

void GgufText::write(io::GgufWriter& file) const {
  file.set_string(key::kVocabModel, spec_.model);
  if (spec_.model == "gpt2") file.set_string(key::kPre, spec_.pre);
  if (spec_.model == "llama") file.set_string(key::kPre, "default");
  file.set_strings(key::kTokens, spec_.tokens);
  if (!spec_.scores.empty()) file.set_f32s(key::kScores, spec_.scores);
  file.set_i32s(key::kTokenTypes, spec_.types);
  if (spec_.model == "gpt2") file.set_strings(key::kMerges, spec_.merges);
  const auto set_id = [&](const char* name, std::optional<int32_t> id) {
    if (id) file.set_u32(name, static_cast<uint32_t>(*id));
  };
  set_id(key::kBos, spec_.bos);
  set_id(key::kEos, spec_.eos);
  set_id(key::kUnknown, spec_.unk);
  set_id(key::kPadding, spec_.pad);
  for (size_t i = 0; i < stops_.size(); ++i) set_id(kStopKeys[i], stops_[i]);
  const auto set_flag = [&](const char* name, std::optional<bool> flag) {
    if (flag) file.set_bool(name, *flag);
  };
  set_flag(key::kAddBos, spec_.add_bos);
  set_flag(key::kAddEos, spec_.add_eos);
  set_flag(key::kAddSpacePrefix, spec_.add_space_prefix);
  set_flag(key::kRemoveSpaces, spec_.remove_extra_whitespaces);
  if (!spec_.charsmap.empty()) {
    std::vector<uint64_t> bytes;
    for (const char c : spec_.charsmap) bytes.push_back(static_cast<unsigned char>(c));
    file.copy(key::kCharsmap, io::GgufType::kArray,
              io::GgufArray{io::GgufType::kU8, std::move(bytes)});
  }
  if (parts_.chat) file.set_string(key::kChatTemplate, parts_.chat->source());
}

void GgufText::check(const io::GgufFile& file) const {
  const TextParts read = load_text_parts(file);
  const auto text = text::first_difference(*parts_.tokenizer, *read.tokenizer, texts_);
  auto mine = parts_.stops, theirs = read.stops;
  std::sort(mine.begin(), mine.end());
  std::sort(theirs.begin(), theirs.end());
  const bool keeps_stops = std::includes(theirs.begin(), theirs.end(), mine.begin(), mine.end());
  const bool keeps_chat =
      (read.chat ? read.chat->source() : "") == (parts_.chat ? parts_.chat->source() : "");
  if (!text && keeps_stops && keeps_chat) return;
  fail(ErrorCode::kUnsupported, where_, "the GGUF file lost {}; export it as hf",
       text          ? "the ids of its tokenizer on " + *text
       : keeps_stops ? std::string("its chat template")
                     : std::string("tokens that end a generation"));
}

}  // namespace moxie::models
