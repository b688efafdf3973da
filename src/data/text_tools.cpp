#include "data/encode.h"

namespace moxie::data {

TextTools text_tools(const text::Tokenizer& tokenizer, const text::ChatTemplate* chat_template,
                     std::string eos) {
  TextTools tools;
  tools.encode = [&tokenizer](std::string_view text, bool add_special) {
    return tokenizer.encode(text, {.add_special = add_special});
  };
  if (chat_template != nullptr) {
    tools.render = [chat_template](const Json& messages, bool add_generation_prompt,
                                   const Json& available_tools, const Json& extra) {
      return chat_template->render(messages, add_generation_prompt, available_tools, extra);
    };
  }
  tools.is_special = [&tokenizer](int32_t id) { return tokenizer.is_special(id); };
  tools.eos = std::move(eos);
  return tools;
}

}  // namespace moxie::data
