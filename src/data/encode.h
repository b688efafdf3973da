#pragma once
// From a Record to token ids with a mask of what is learnt, token for token as TRL's SFTTrainer:
//   text                the text and EOS, all learnt
//   prompt, completion  both together and EOS; learnt from where the tokens of the prompt alone and
//                       of the whole diverge
//   chat with a prompt  the same, both rendered by the chat template
//   chat                the assistant's turns are learnt (TRL's assistant_only_loss), by the
//                       template's {% generation %} blocks or, without any, by rendering the
//                       conversation up to each turn
// A token is learnt when at least one byte of it lies in a learnt range, as in transformers.
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/options.h"
#include "data/record.h"
#include "data/sample.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace moxie::data {

struct EncodeOptions {
  int64_t max_length = 1024;
  std::string loss_on = "auto";

  void visit(auto& v) {
    v("max_length", max_length, "tokens kept of an example, the end is cut; 0 keeps all",
      at_least(0));
    v("loss_on", loss_on,
      "what is learnt: auto (completions, the assistant's turns, all of plain text), completion "
      "(of a conversation the last turn), assistant, all",
      one_of({"auto", "completion", "assistant", "all"}));
  }
};

// What the encoder needs of a model's text side. The referenced objects must outlive it.
struct TextTools {
  std::function<text::Encoding(std::string_view text, bool add_special)> encode;
  // Without one, conversations are an error.
  std::function<text::RenderedChat(const Json& messages, bool add_generation_prompt,
                                   const Json& tools, const Json& extra)>
      render = {};
  std::function<bool(int32_t id)> is_special = {};
  std::string eos = {};  // as the vocabulary spells it; "" adds none
};
TextTools text_tools(const text::Tokenizer& tokenizer, const text::ChatTemplate* chat_template,
                     std::string eos);

// The question of an example, as generation is given it, and the answer the example holds.
struct Prompt {
  std::string text;
  std::vector<int32_t> tokens;
  std::string answer;
};

class Encoder {
 public:
  Encoder(TextTools tools, EncodeOptions options = {});
  const EncodeOptions& options() const { return options_; }

  // One sample; several for a document longer than the limit; none when the limit cut off all that
  // would be learnt. Throws kCorruptData that starts with record.where.
  std::vector<Sample> encode(const Record& record) const;
  // For answering the example instead of learning it: all before the completion or last answer.
  Prompt prompt(const Record& record) const;
  // Why this chat template is bad for tuning (turns without a token that ends them), "" when fine.
  std::string template_warning() const;

 private:
  using Range = std::pair<int64_t, int64_t>;
  struct Masked {
    text::Encoding encoding;
    std::vector<uint8_t> is_learnt;
  };
  Masked encode_text(const Record& record) const;
  Masked encode_completion(const Record& record) const;
  Masked encode_chat(const Record& record) const;
  text::RenderedChat render(const Record& record, int64_t count, bool add_generation_prompt) const;

  TextTools tools_;
  EncodeOptions options_;
};

}  // namespace moxie::data
