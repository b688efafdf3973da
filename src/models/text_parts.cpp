#include "models/text_parts.h"

#include <algorithm>

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "models/gguf_keys.h"

namespace moxie::models {
namespace fs = std::filesystem;
namespace {

Json read_optional(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored) ? read_json_file(path) : Json::object();
}

// tokenizer_config.json gives a special token as text or as {"content": text}.
std::string special_text(const Json& config, const char* key) {
  if (!config.contains(key)) return "";
  const Json& value = config.at(key);
  if (value.is_string()) return value.get<std::string>();
  if (value.is_object() && value.contains("content") && value.at("content").is_string())
    return value.at("content").get<std::string>();
  return "";
}

// The template of tokenizer_config.json wins, then chat_template.jinja, then chat_template.json.
std::string template_source(const fs::path& folder, const Json& config) {
  if (config.contains("chat_template")) {
    const Json& value = config.at("chat_template");
    if (value.is_string()) return value.get<std::string>();
    if (value.is_array()) {
      for (const Json& item : value) {
        if (item.is_object() && item.value("name", "") == "default" && item.contains("template")) {
          return item.at("template").get<std::string>();
        }
      }
    }
  }
  std::error_code ignored;
  if (fs::exists(folder / "chat_template.jinja", ignored))
    return read_file(folder / "chat_template.jinja", 1 << 20);
  const Json separate = read_optional(folder / "chat_template.json");
  return separate.contains("chat_template") && separate.at("chat_template").is_string()
             ? separate.at("chat_template").get<std::string>()
             : "";
}

void add_stop(TextParts& parts, std::optional<int32_t> id) {
  if (id && std::find(parts.stops.begin(), parts.stops.end(), *id) == parts.stops.end())
    parts.stops.push_back(*id);
}

void add_stops(TextParts& parts, const Json& value) {
  if (value.is_number_integer()) add_stop(parts, value.get<int32_t>());
  if (value.is_array()) {
    for (const Json& item : value) add_stops(parts, item);
  }
}

void make_template(TextParts& parts, const std::string& source, const text::TemplateTokens& tokens,
                   const std::string& where) {
  if (!source.empty()) parts.chat = std::make_unique<text::ChatTemplate>(source, tokens, where);
}

// Tokens that end a turn in the templates of the families Moxie reads; a GGUF file names only one
// of them.
constexpr const char* kTurnEnds[] = {"<|im_end|>",    "<end_of_turn>",   "<|eot_id|>", "<|end|>",
                                     "<|endoftext|>", "<|end_of_text|>", "</s>"};

void add_turn_ends(TextParts& parts) {
  for (const char* token : kTurnEnds) {
    const auto id = parts.tokenizer->token_id(token);
    if (id && parts.tokenizer->is_special(*id)) add_stop(parts, id);
  }
}

std::optional<int32_t> checked_id(const io::GgufFile& file, const char* key, size_t vocab) {
  const auto id = file.get_int(key);
  if (!id) return {};
  if (*id < 0 || *id >= static_cast<int64_t>(vocab)) {
    fail(ErrorCode::kCorruptData, file.where(), "{} = {} is outside the vocabulary of {}", key, *id,
         vocab);
  }
  return static_cast<int32_t>(*id);
}

}  // namespace

std::vector<int32_t> unnamed_stops(const TextParts& parts) {
  std::vector<int32_t> rest;
  for (const int32_t stop : parts.stops) {
    const bool ends_turns =
        std::any_of(std::begin(kTurnEnds), std::end(kTurnEnds), [&](const char* token) {
          return parts.tokenizer->token_id(token) == stop && parts.tokenizer->is_special(stop);
        });
    if (!ends_turns && stop != parts.eos) rest.push_back(stop);
  }
  return rest;
}

TextParts load_text_parts(const fs::path& folder) {
  TextParts parts;
  std::error_code ignored;
  if (!fs::exists(folder / "tokenizer.json", ignored)) return parts;
  const std::string json = read_file(folder / "tokenizer.json");
  parts.tokenizer = std::make_unique<text::Tokenizer>(
      text::Tokenizer::from_json(json, (folder / "tokenizer.json").string()));
  const Json config = read_optional(folder / "tokenizer_config.json");
  const text::TemplateTokens tokens = {
      special_text(config, "bos_token"), special_text(config, "eos_token"),
      special_text(config, "pad_token"), special_text(config, "unk_token")};
  const auto id_of = [&](const std::string& token) {
    return token.empty() ? std::nullopt : parts.tokenizer->token_id(token);
  };
  parts.bos = id_of(tokens.bos);
  parts.eos = id_of(tokens.eos);
  parts.pad = id_of(tokens.pad);
  const Json model = read_optional(folder / "config.json");
  const Json generation = read_optional(folder / "generation_config.json");
  if (!parts.eos && model.contains("eos_token_id") &&
      model.at("eos_token_id").is_number_integer()) {
    parts.eos = model.at("eos_token_id").get<int32_t>();
  }
  add_stop(parts, parts.eos);
  if (generation.contains("eos_token_id")) add_stops(parts, generation.at("eos_token_id"));
  add_turn_ends(parts);
  make_template(parts, template_source(folder, config), tokens, folder.string());
  return parts;
}

TextParts load_text_parts(const io::GgufFile& file) {
  TextParts parts;
  const auto* tokens = file.get_strings(key::kTokens);
  if (tokens == nullptr) return parts;
  text::VocabSpec spec;
  spec.model = file.require_string(key::kVocabModel);
  spec.pre = file.get_string(key::kPre).value_or("default");
  spec.tokens = *tokens;
  if (const auto scores = file.get_floats(key::kScores))
    spec.scores.assign(scores->begin(), scores->end());
  if (const auto types = file.get_ints(key::kTokenTypes))
    spec.types.assign(types->begin(), types->end());
  if (const auto* merges = file.get_strings(key::kMerges)) spec.merges = *merges;
  for (const auto& [count, key] : {std::pair<size_t, const char*>{spec.scores.size(), "scores"},
                                   {spec.types.size(), "token_type"}}) {
    if (count != 0 && count != spec.tokens.size()) {
      fail(ErrorCode::kCorruptData, file.where(), "tokenizer.ggml.{} has {} entries for {} tokens",
           key, count, spec.tokens.size());
    }
  }
  const size_t vocab = spec.tokens.size();
  parts.bos = spec.bos = checked_id(file, key::kBos, vocab);
  parts.eos = spec.eos = checked_id(file, key::kEos, vocab);
  parts.pad = spec.pad = checked_id(file, key::kPadding, vocab);
  spec.unk = checked_id(file, key::kUnknown, vocab);
  spec.add_bos = file.get_bool(key::kAddBos);
  spec.add_eos = file.get_bool(key::kAddEos);
  spec.add_space_prefix = file.get_bool(key::kAddSpacePrefix);
  spec.remove_extra_whitespaces = file.get_bool(key::kRemoveSpaces);
  if (const auto bytes = file.get_ints(key::kCharsmap)) {
    for (const int64_t byte : *bytes) spec.charsmap += static_cast<char>(byte);
  }
  parts.tokenizer =
      std::make_unique<text::Tokenizer>(text::Tokenizer::from_vocab(spec, file.where()));
  const auto text_of = [&](std::optional<int32_t> id) {
    return id ? spec.tokens[static_cast<size_t>(*id)] : std::string();
  };
  add_stop(parts, parts.eos);
  add_stop(parts, checked_id(file, key::kEot, vocab));
  add_stop(parts, checked_id(file, key::kEom, vocab));
  add_turn_ends(parts);
  make_template(parts, file.get_string(key::kChatTemplate).value_or(""),
                {text_of(parts.bos), text_of(parts.eos), text_of(parts.pad), text_of(spec.unk)},
                file.where());
  return parts;
}

}  // namespace moxie::models
