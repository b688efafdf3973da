#pragma once
// One example of supervised tuning as a file states it, before any tokenizer has seen it. Every
// shape of data.list is converted into this; messages are in the {role, content} form of chat
// templates, content always a string.
#include <cstdint>
#include <string>

#include "base/json.h"

namespace moxie::data {

struct Record {
  enum class Kind {
    kText,        // text: all of it is learnt
    kCompletion,  // prompt, completion: the completion is learnt
    kChat,        // messages; the first prompt_messages of them are the prompt (see below)
  };
  Kind kind = Kind::kText;
  std::string text;
  std::string prompt, completion;
  Json messages = Json::array();
  // Above 0: a conversational prompt/completion; the messages from this one on are the completion.
  int64_t prompt_messages = 0;
  Json tools;                           // null, or a list
  Json template_args = Json::object();  // further variables of the chat template
  bool is_document = false;             // running text: split at the length limit, never cut
  std::string where;                    // file:line, for messages about this example
};

}  // namespace moxie::data
