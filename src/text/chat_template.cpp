#include "text/chat_template.h"

#include "base/error.h"
#include "text/bridge.h"

namespace moxie::text {
namespace {

const moxie_text_template* as_handle(void* handle) {
  return static_cast<const moxie_text_template*>(handle);
}

void put_token(Json& context, const char* name, const std::string& token) {
  if (!token.empty()) context[name] = token;  // a token that is not set is not defined
}

// Reasoning goes by three names; templates read one or another, so every one that has any gets the
// two that are read, as transformers does.
Json with_reasoning(const Json& message) {
  if (!message.is_object()) return message;
  for (const char* name : {"reasoning_content", "thinking", "reasoning"}) {
    const auto found = message.find(name);
    if (found == message.end() || found->is_null()) continue;
    const Json& reasoning = *found;
    Json out = Json::object();
    out["thinking"] = reasoning;
    for (const auto& [key, value] : message.items()) out[key] = value;
    out["reasoning_content"] = reasoning;
    return out;
  }
  return message;
}

std::string dump(const Json& context) {
  try {
    return context.dump();
  } catch (const Json::exception& e) {
    fail(ErrorCode::kInvalidArgument, "chat_template", "a message is not UTF-8: {}", e.what());
  }
}

}  // namespace

ChatTemplate::ChatTemplate(std::string source, TemplateTokens tokens, std::string_view where)
    : source_(std::move(source)),
      tokens_(std::move(tokens)),
      handle_(call<moxie_text_template*>(where, moxie_text_template_new,
                                         to_c(std::string_view(source_)))) {}
ChatTemplate::ChatTemplate(ChatTemplate&& other) noexcept
    : source_(std::move(other.source_)),
      tokens_(std::move(other.tokens_)),
      handle_(std::exchange(other.handle_, nullptr)) {}
ChatTemplate& ChatTemplate::operator=(ChatTemplate&& other) noexcept {
  std::swap(source_, other.source_);
  std::swap(tokens_, other.tokens_);
  std::swap(handle_, other.handle_);
  return *this;
}
ChatTemplate::~ChatTemplate() {
  moxie_text_template_free(static_cast<moxie_text_template*>(handle_));
}

RenderedChat ChatTemplate::render(const Json& messages, bool add_generation_prompt,
                                  const Json& tools, const Json& extra) const {
  Json context = Json::object();
  put_token(context, "bos_token", tokens_.bos);
  put_token(context, "eos_token", tokens_.eos);
  put_token(context, "pad_token", tokens_.pad);
  put_token(context, "unk_token", tokens_.unk);
  context["documents"] = nullptr;
  context.update(extra);
  context["messages"] = Json::array();
  for (const auto& message : messages) context["messages"].push_back(with_reasoning(message));
  context["tools"] = tools;
  context["add_generation_prompt"] = add_generation_prompt;
  const std::string text = dump(context);
  const auto out = call<moxie_text_rendered>("chat_template", moxie_text_template_render,
                                             as_handle(handle_), to_c(std::string_view(text)));
  RenderedChat chat;
  chat.text.assign(reinterpret_cast<const char*>(out.text.data), out.text.size);
  for (size_t i = 0; i < out.ranges; ++i) {
    chat.generated.emplace_back(out.generated[2 * i], out.generated[2 * i + 1]);
  }
  moxie_text_rendered_free(out);
  return chat;
}

}  // namespace moxie::text
