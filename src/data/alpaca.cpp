// {instruction, output, input?, system?, history?}: one turn of a conversation, after the pairs of
// `history`. Becomes messages; an input is added to the instruction after a newline.
#include "base/error.h"
#include "data/fields.h"
#include "data/shape.h"

namespace moxie::data {
namespace {

void add_history(Json& messages, const Json& history, std::string_view where) {
  for (size_t i = 0; i < history.size(); ++i) {
    const Json& pair = history[i];
    if (!pair.is_array() || pair.size() != 2 || !pair[0].is_string() || !pair[1].is_string()) {
      fail(ErrorCode::kCorruptData, where,
           "history[{}] is not a pair of texts; write [\"what was said\", \"the answer\"]", i);
    }
    messages.push_back(message("user", pair[0].get<std::string>()));
    messages.push_back(message("assistant", pair[1].get<std::string>()));
  }
}

Record convert(const Json& row, std::string_view where) {
  Record record;
  record.kind = Record::Kind::kChat;
  if (const std::string system = string_or_empty(row, "system", where); !system.empty()) {
    record.messages.push_back(message("system", system));
  }
  if (const Json history = list_or_null(row, "history", where); !history.is_null()) {
    add_history(record.messages, history, where);
  }
  std::string instruction = need_string(row, "instruction", where);
  const std::string input = string_or_empty(row, "input", where);
  if (!input.empty()) instruction += (instruction.empty() ? "" : "\n") + input;
  record.messages.push_back(message("user", instruction));
  record.messages.push_back(message("assistant", need_string(row, "output", where)));
  return record;
}

}  // namespace

extern const Shape alpaca_entry;
const Shape alpaca_entry{
    .summary = "an instruction and its output, as one turn of a conversation",
    .needs = {"instruction", "output"},
    .takes = {"input", "system", "history"},
    .convert = convert,
    .example = R"({"instruction": "Translate into French.", "input": "the sky", )"
               R"("output": "le ciel"})",
};

}  // namespace moxie::data
