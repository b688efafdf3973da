// {prompt, completion}: both text, or both lists of messages.
#include "base/error.h"
#include "data/fields.h"
#include "data/shape.h"

namespace moxie::data {
namespace {

Record convert(const Json& row, std::string_view where) {
  Record record;
  if (row["prompt"].is_array() != row["completion"].is_array()) {
    fail(ErrorCode::kCorruptData, where,
         "'prompt' is {} and 'completion' is {}; both must be text, or both lists of messages",
         row["prompt"].type_name(), row["completion"].type_name());
  }
  if (!row["prompt"].is_array()) {
    record.kind = Record::Kind::kCompletion;
    record.prompt = need_string(row, "prompt", where);
    record.completion = need_string(row, "completion", where);
    return record;
  }
  record.kind = Record::Kind::kChat;
  record.messages = need_messages(row, "prompt", where);
  record.prompt_messages = static_cast<int64_t>(record.messages.size());
  for (const Json& message : need_messages(row, "completion", where)) {
    record.messages.push_back(message);
  }
  record.tools = list_or_null(row, "tools", where);
  record.template_args = object_or_empty(row, "chat_template_kwargs", where);
  return record;
}

}  // namespace

extern const Shape prompt_completion_entry;
const Shape prompt_completion_entry{
    .summary = "a prompt and what follows it (text, or lists of messages); what follows is learnt",
    .needs = {"prompt", "completion"},
    .takes = {"tools", "chat_template_kwargs"},
    .convert = convert,
    .example = R"({"prompt": "The sky is", "completion": " blue."})",
};

}  // namespace moxie::data
