// Text to token ids, as the model would see it; for data files also which tokens are learnt.
#include <fmt/format.h>

#include "app/cli/text_of_model.h"
#include "app/cli/verb.h"
#include "data/encode.h"
#include "data/reader.h"
#include "io/hub.h"

namespace moxie::cli {
namespace {

struct TokenizeOptions {
  std::string model, text, data, format;
  bool chat = false;
  data::EncodeOptions encode;

  void visit(auto& v) {
    v("model", model, "a GGUF file, a Hugging Face folder, or a pulled name");
    v("text", text, "what to tokenize");
    v("data", data, "a data file: every example as training would see it");
    v("format", format, "shape of the examples; detected without it");
    v("chat", chat, "the text is a user's message: put it through the chat template");
    encode.visit(v);
  }
};

constexpr const char* kVerb = "tokenize";

const text::ChatTemplate& require_chat(const models::TextParts& parts, const std::string& model) {
  if (parts.chat == nullptr) {
    fail(ErrorCode::kUnsupported, kVerb, "'{}' has no chat template; leave --chat out", model);
  }
  return *parts.chat;
}

// A token as people read it: a piece of a character is shown as the vocabulary spells it.
std::string piece_of(const text::Tokenizer& tokenizer, int32_t id) {
  const std::string decoded = tokenizer.decode({id}, false);
  return decoded.find("\xEF\xBF\xBD") == std::string::npos ? decoded : tokenizer.token_text(id);
}

void tokenize_text(const TokenizeOptions& options, const models::TextParts& parts,
                   const Context& context) {
  std::string text = options.text;
  if (options.chat) {
    const Json messages = Json::array({{{"role", "user"}, {"content", options.text}}});
    text = require_chat(parts, options.model).render(messages, true).text;
  }
  const auto encoding =
      parts.tokenizer->encode(text, {.add_special = !options.chat, .parse_special = true});
  Json pieces = Json::array();
  for (const int32_t id : encoding.ids) pieces.push_back(piece_of(*parts.tokenizer, id));
  if (context.globals.json) {
    fmt::print("{}\n", Json{{"tokens", encoding.ids}, {"pieces", pieces}}.dump());
    return;
  }
  TextTable table{{"id", "piece"}, {}, {true}};
  for (size_t i = 0; i < encoding.ids.size(); ++i) {
    table.rows.push_back({std::to_string(encoding.ids[i]), pieces[i].dump()});
  }
  fmt::print("{}{} tokens\n", table.render(context.out), encoding.ids.size());
}

// Learnt pieces stand out; off a terminal they are put in brackets.
std::string marked(const text::Tokenizer& tokenizer, const data::Sample& sample,
                   const Terminal& terminal) {
  std::string shown;
  for (size_t i = 0; i < sample.tokens.size();) {
    const bool is_learnt = sample.is_learnt[i] != 0;
    std::vector<int32_t> run;
    for (; i < sample.tokens.size() && (sample.is_learnt[i] != 0) == is_learnt; ++i)
      run.push_back(sample.tokens[i]);
    const std::string text = printable(tokenizer.decode(run, false));
    if (!is_learnt) {
      shown += terminal.dim(text);
    } else {
      shown += terminal.has_color ? terminal.green(text) : "[[" + text + "]]";
    }
  }
  return shown;
}

void tokenize_data(const TokenizeOptions& options, const models::TextParts& parts,
                   const Context& context) {
  const std::string eos = parts.eos ? parts.tokenizer->token_text(*parts.eos) : "";
  const data::Encoder encoder(data::text_tools(*parts.tokenizer, parts.chat.get(), eos),
                              options.encode);
  data::Reader reader(options.data, {.format = options.format});
  int64_t count = 0;
  while (const auto record = reader.next()) {
    for (const auto& sample : encoder.encode(*record)) {
      ++count;
      if (context.globals.json) {
        fmt::print(
            "{}\n",
            Json{{"tokens", sample.tokens}, {"learnt", sample.is_learnt}, {"cut", sample.cut}}
                .dump());
        continue;
      }
      fmt::print(
          "{}\n{}\n", marked(*parts.tokenizer, sample, context.out),
          context.out.dim(fmt::format("-- example {}: {} tokens, {} learnt, {} cut", count,
                                      sample.tokens.size(), sample.learnt_count(), sample.cut)));
    }
  }
}

void run(TokenizeOptions& options, Context& context) {
  if (options.text.empty() == options.data.empty()) {
    fail(ErrorCode::kInvalidArgument, kVerb, "give either --text or --data");
  }
  const models::TextParts parts = load_text(io::resolve_model(options.model));
  if (options.data.empty()) {
    tokenize_text(options, parts, context);
  } else {
    tokenize_data(options, parts, context);
  }
}

}  // namespace

extern const Verb tokenize_entry;
const Verb tokenize_entry = {
    .group = Group::kUse,
    .summary = "show the tokens of a text, or of training data and what is learnt",
    .positionals = "model",
    .examples =
        "moxie tokenize model.gguf --text 'Turn on the lamp'\n"
        "moxie tokenize model.gguf --text 'Hi' --chat --json\n"
        "moxie tokenize model.gguf --data train.jsonl",
    .reads_recipe = false,
    .create = invocation<TokenizeOptions, run>};

}  // namespace moxie::cli
