#include "text/vocab_of.h"

#include <algorithm>

#include "base/error.h"
#include "base/json.h"
#include "text/bridge.h"

namespace moxie::text {
namespace {

constexpr int32_t kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5;

std::string pre_tokenizer(size_t index) {
  const moxie_text_str name = moxie_text_pre_tokenizer(index);
  return {reinterpret_cast<const char*>(name.data), name.size};
}

// Settings that a file may name, likeliest first; add_bos and add_eos are known.
std::vector<VocabSpec> candidates(const VocabSpec& known) {
  std::vector<VocabSpec> list;
  const auto add = [&](auto&& change) {
    VocabSpec spec = known;
    change(spec);
    list.push_back(std::move(spec));
  };
  for (const bool prefix : {false, true}) {
    if (known.model == "llama") add([&](VocabSpec& s) { s.add_space_prefix = prefix; });
    if (known.model != "t5") continue;
    for (const bool removes : {true, false}) {
      add([&](VocabSpec& s) {
        s.add_space_prefix = prefix;
        s.remove_extra_whitespaces = removes;
      });
    }
  }
  return list;
}

// What encoding puts around a text, as the flags and ids of a file.
void read_frame(const Tokenizer& tokenizer, VocabSpec& spec, std::string_view where) {
  constexpr std::string_view kText = "the x is 1.";
  const auto plain = tokenizer.encode(kText, {.add_special = false}).ids;
  const auto framed = tokenizer.encode(kText).ids;
  const size_t extra = framed.size() - plain.size();
  const bool in_front = extra > 0 && !std::equal(plain.begin(), plain.end(), framed.begin());
  const bool behind = extra > (in_front ? 1 : 0);
  const auto take = [&](std::optional<int32_t>& id, int32_t found, const char* name) {
    if (id.value_or(found) != found) {
      fail(ErrorCode::kUnsupported, where,
           "its tokenizer puts '{}' around a text, but its {} is '{}', and a GGUF file holds only "
           "one; make them agree in tokenizer_config.json, or export it as hf",
           tokenizer.token_text(found), name, tokenizer.token_text(*id));
    }
    id = found;
  };
  if (extra > 2 || framed.size() < plain.size()) {
    fail(ErrorCode::kUnsupported, where,
         "its tokenizer puts {} tokens around a text, and a GGUF file at most two; export it as hf",
         extra);
  }
  if (in_front) take(spec.bos, framed.front(), "bos_token");
  if (behind) take(spec.eos, framed.back(), "eos_token");
  spec.add_bos = in_front;
  spec.add_eos = behind;
}

VocabSpec known_parts(const Json& json, int64_t rows) {
  VocabSpec spec;
  spec.model = json.at("model").get<std::string>();
  spec.types = json.at("types").get<std::vector<int32_t>>();
  spec.scores = json.at("scores").get<std::vector<float>>();
  spec.merges = json.at("merges").get<std::vector<std::string>>();
  for (const Json& byte : json.at("charsmap")) spec.charsmap += static_cast<char>(byte.get<int>());
  const Json& tokens = json.at("tokens");
  const auto count = static_cast<size_t>(rows);
  for (size_t id = 0; id < count; ++id) {
    const bool is_there = id < tokens.size() && tokens[id].is_string();
    spec.tokens.push_back(is_there ? tokens[id].get<std::string>()
                                   : "[PAD" + std::to_string(id) + "]");
  }
  spec.types.resize(count, kUnused);
  const auto unknown = std::find(spec.types.begin(), spec.types.end(), kUnknown);
  if (unknown != spec.types.end()) spec.unk = static_cast<int32_t>(unknown - spec.types.begin());
  if (spec.model != "gpt2") spec.scores.resize(count, -1e4F);
  return spec;
}

// Ids beyond the embeddings cannot be used by the model: an added token is left out, but a piece
// that merges lead to would leave a hole.
void check_beyond(const Json& json, int64_t rows, std::string_view where) {
  const auto& types = json.at("types");
  for (size_t id = static_cast<size_t>(rows); id < types.size(); ++id) {
    const auto type = types[id].get<int32_t>();
    if (type == kControl || type == kUserDefined || type == kUnused) continue;
    fail(ErrorCode::kUnsupported, where,
         "its tokenizer has the id {}, but its embeddings have {} rows; give it the tokenizer that "
         "belongs to it",
         id, rows);
  }
}

}  // namespace

VocabSpec vocab_of(const Tokenizer& tokenizer, int64_t rows, const SpecialIds& ids,
                   const std::vector<std::string>& texts, std::string_view where) {
  const Json json = parse_json(tokenizer.vocabulary_json(), where);
  check_beyond(json, rows, where);
  VocabSpec known = known_parts(json, rows);
  known.bos = ids.bos;
  known.eos = ids.eos;
  known.pad = ids.pad;
  read_frame(tokenizer, known, where);
  std::string closest;
  const auto fits = [&](const VocabSpec& spec) {
    const auto text = first_difference(tokenizer, Tokenizer::from_vocab(spec, where), texts);
    if (text) closest = *text;
    return !text;
  };
  for (VocabSpec& spec : candidates(known)) {
    if (fits(spec)) return std::move(spec);
  }
  for (size_t i = 0; known.model == "gpt2" && !(known.pre = pre_tokenizer(i)).empty(); ++i) {
    if (fits(known)) return known;
  }
  fail(ErrorCode::kUnsupported, where,
       "no setting of a GGUF file cuts text as its tokenizer does (the last one tried differs on "
       "{}); export it as hf",
       Json(closest.substr(0, 60)).dump(-1, ' ', false, Json::error_handler_t::replace));
}

}  // namespace moxie::text
