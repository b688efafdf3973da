#pragma once
// Chat templates: Jinja by the `minijinja` crate with the helpers and dialect of transformers
// (raise_exception, strftime_now, tojson, namespace, loop controls, {% generation %}, str methods),
// inside a budget of steps, output bytes, nesting and range (rule T3 of docs/hardening.md).
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"

namespace moxie::text {

struct RenderedChat {
  std::string text;
  // Byte ranges of text that {% generation %} blocks produced; empty when the template has none.
  std::vector<std::pair<int64_t, int64_t>> generated;
};

struct TemplateTokens {  // the strings templates refer to
  std::string bos, eos, pad, unk;
};

class ChatTemplate {
 public:
  // Throws kCorruptData when the template does not parse.
  ChatTemplate(std::string source, TemplateTokens tokens, std::string_view where);
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  // messages: [{role, content, ...}]; tools: null or a list; extra: further variables.
  RenderedChat render(const Json& messages, bool add_generation_prompt, const Json& tools = nullptr,
                      const Json& extra = Json::object()) const;
  const std::string& source() const { return source_; }

 private:
  std::string source_;
  TemplateTokens tokens_;
  void* handle_;
};

}  // namespace moxie::text
