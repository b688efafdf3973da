// {messages, tools?}: a conversation in the form of chat templates.
#include "data/fields.h"
#include "data/shape.h"

namespace moxie::data {
namespace {

Record convert(const Json& row, std::string_view where) {
  Record record;
  record.kind = Record::Kind::kChat;
  record.messages = need_messages(row, "messages", where);
  record.tools = list_or_null(row, "tools", where);
  record.template_args = object_or_empty(row, "chat_template_kwargs", where);
  return record;
}

}  // namespace

extern const Shape messages_entry;
const Shape messages_entry{
    .summary = "a conversation; the assistant's turns are learnt",
    .needs = {"messages"},
    .takes = {"tools", "chat_template_kwargs"},
    .convert = convert,
    .example = R"({"messages": [{"role": "user", "content": "What color is the sky?"}, )"
               R"({"role": "assistant", "content": "It is blue."}]})",
};

}  // namespace moxie::data
