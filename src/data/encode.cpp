#include "data/encode.h"

#include <algorithm>

#include "base/error.h"
#include "data/spans.h"

namespace moxie::data {
namespace {

// As TRL's common_prefix_length: templates may render a prompt alone otherwise than with an answer,
// and tokens may merge across the boundary; what is learnt starts where the two part.
size_t common_tokens(const std::vector<int32_t>& a, const std::vector<int32_t>& b) {
  const size_t most = std::min(a.size(), b.size());
  return static_cast<size_t>(
      std::mismatch(a.begin(), a.begin() + static_cast<ptrdiff_t>(most), b.begin()).first -
      a.begin());
}

std::vector<uint8_t> learnt_from(size_t first, size_t size) {
  std::vector<uint8_t> mask(size, 0);
  std::fill(mask.begin() + static_cast<ptrdiff_t>(first), mask.end(), uint8_t{1});
  return mask;
}

Sample piece(const text::Encoding& encoding, const std::vector<uint8_t>& is_learnt, size_t begin,
             size_t end) {
  const auto first = static_cast<ptrdiff_t>(begin), last = static_cast<ptrdiff_t>(end);
  Sample sample;
  sample.tokens.assign(encoding.ids.begin() + first, encoding.ids.begin() + last);
  sample.is_learnt.assign(is_learnt.begin() + first, is_learnt.begin() + last);
  return sample;
}

}  // namespace

int64_t Sample::learnt_count() const {
  return is_learnt.empty() ? 0 : std::count(is_learnt.begin() + 1, is_learnt.end(), uint8_t{1});
}

Encoder::Encoder(TextTools tools, EncodeOptions options)
    : tools_(std::move(tools)), options_(std::move(options)) {
  for (const Option& option : list_options(options_)) {
    set_option(option, option_value(option), "data");  // checks the limits
  }
}

std::vector<Sample> Encoder::encode(const Record& record) const {
  Masked masked;
  switch (record.kind) {
    case Record::Kind::kText:
      masked = encode_text(record);
      break;
    case Record::Kind::kCompletion:
      masked = encode_completion(record);
      break;
    case Record::Kind::kChat:
      masked = encode_chat(record);
      break;
  }
  const size_t size = masked.encoding.ids.size();
  const size_t limit = options_.max_length > 0 ? static_cast<size_t>(options_.max_length) : size;
  std::vector<Sample> samples;
  if (record.is_document) {
    for (size_t begin = 0; begin < size; begin += limit) {
      samples.push_back(
          piece(masked.encoding, masked.is_learnt, begin, std::min(size, begin + limit)));
    }
  } else {
    samples.push_back(piece(masked.encoding, masked.is_learnt, 0, std::min(size, limit)));
    samples.back().cut = static_cast<int64_t>(size - samples.back().tokens.size());
  }
  std::erase_if(samples, [](const Sample& sample) { return sample.learnt_count() == 0; });
  return samples;
}

Encoder::Masked Encoder::encode_text(const Record& record) const {
  if (options_.loss_on == "completion" || options_.loss_on == "assistant") {
    fail(ErrorCode::kInvalidArgument, record.where,
         "loss_on {} was asked for, but this example is plain text; use loss_on auto or all",
         options_.loss_on);
  }
  const bool has_eos = tools_.eos.empty() || record.text.ends_with(tools_.eos);
  Masked masked{tools_.encode(has_eos ? record.text : record.text + tools_.eos, true), {}};
  masked.is_learnt = learnt_from(0, masked.encoding.ids.size());
  return masked;
}

Encoder::Masked Encoder::encode_completion(const Record& record) const {
  std::string whole = record.prompt + record.completion;
  if (!record.completion.ends_with(tools_.eos)) whole += tools_.eos;
  Masked masked{tools_.encode(whole, true), {}};
  size_t first = 0;
  if (options_.loss_on != "all") {
    first = common_tokens(tools_.encode(record.prompt, true).ids, masked.encoding.ids);
  }
  masked.is_learnt = learnt_from(first, masked.encoding.ids.size());
  return masked;
}

text::RenderedChat Encoder::render(const Record& record, int64_t count,
                                   bool add_generation_prompt) const {
  if (!tools_.render) {
    fail(ErrorCode::kInvalidArgument, record.where,
         "this example is a conversation, but the model has no chat template; tune on {{prompt, "
         "completion}} or {{text}}, or take an instruct model");
  }
  const auto end = record.messages.begin() + static_cast<ptrdiff_t>(count);
  try {
    return tools_.render(Json(Json::array_t(record.messages.begin(), end)), add_generation_prompt,
                         record.tools, record.template_args);
  } catch (const Error& error) {
    fail(error.code(), record.where, "the chat template refuses this conversation: {}",
         error.message());
  }
}

Encoder::Masked Encoder::encode_chat(const Record& record) const {
  const auto count = static_cast<int64_t>(record.messages.size());
  const text::RenderedChat whole = render(record, count, false);
  Masked masked{tools_.encode(whole.text, false), {}};
  const std::string& loss_on = options_.loss_on;
  if (loss_on == "all") {
    masked.is_learnt = learnt_from(0, masked.encoding.ids.size());
    return masked;
  }
  const bool has_prompt = record.prompt_messages > 0;
  std::vector<uint8_t> completion = learnt_from(0, masked.encoding.ids.size());
  if (has_prompt) {
    const auto prompt = render(record, record.prompt_messages, true);
    completion =
        learnt_from(common_tokens(tools_.encode(prompt.text, false).ids, masked.encoding.ids),
                    masked.encoding.ids.size());
  }
  if (has_prompt && loss_on != "assistant") {
    masked.is_learnt = std::move(completion);
    return masked;
  }
  auto ranges = whole.generated;
  if (ranges.empty()) {
    ranges = assistant_ranges(
        {record.messages,
         [&](const Json& messages, bool add_generation_prompt) {
           return tools_.render(messages, add_generation_prompt, record.tools, record.template_args)
               .text;
         },
         whole.text, masked.encoding, tools_.is_special, record.where});
  }
  if (ranges.empty()) {
    fail(ErrorCode::kCorruptData, record.where,
         "this conversation has no assistant turn to learn; add one, or learn everything (loss_on "
         "all)");
  }
  if (loss_on == "completion") ranges.erase(ranges.begin(), ranges.end() - 1);
  masked.is_learnt = tokens_in(masked.encoding, ranges);
  for (size_t i = 0; i < completion.size(); ++i) masked.is_learnt[i] &= completion[i];
  return masked;
}

Prompt Encoder::prompt(const Record& record) const {
  if (record.kind == Record::Kind::kText) {
    fail(ErrorCode::kInvalidArgument, record.where,
         "plain text asks no question; give {{prompt, completion}} or {{messages}}");
  }
  if (record.kind == Record::Kind::kCompletion) {
    return {record.prompt, tools_.encode(record.prompt, true).ids, record.completion};
  }
  int64_t last = record.prompt_messages;
  if (last == 0) {
    last = static_cast<int64_t>(record.messages.size()) - 1;
    while (last >= 0 && record.messages[static_cast<size_t>(last)]["role"] != "assistant") --last;
  }
  if (last <= 0) {
    fail(ErrorCode::kCorruptData, record.where,
         "this conversation has no assistant turn that answers something; add one");
  }
  Prompt prompt;
  prompt.text = render(record, last, true).text;
  prompt.tokens = tools_.encode(prompt.text, false).ids;
  prompt.answer = record.messages[static_cast<size_t>(last)]["content"].get<std::string>();
  return prompt;
}

std::string Encoder::template_warning() const {
  if (!tools_.render || !tools_.is_special) return "";
  Record record;
  record.kind = Record::Kind::kChat;
  record.where = "chat template";
  for (const char* role : {"user", "assistant", "user"}) {
    record.messages.push_back(Json{{"role", role}, {"content", "word"}});
  }
  Encoder whole(tools_, {0, "assistant"});
  try {
    const auto sample = whole.encode(record).at(0);
    // The words are plain, so a special token among what is learnt is the one that ends the turn.
    for (size_t t = 0; t < sample.tokens.size(); ++t) {
      if (sample.is_learnt[t] && tools_.is_special(sample.tokens[t])) return "";
    }
  } catch (const Error& error) {
    return error.message();
  }
  return "the chat template ends the assistant's turn without a special token, so the model does "
         "not learn to stop; use a template whose turns end with one";
}

}  // namespace moxie::data
