// Data files of every kind: the first byte picks the kind and whether bad rows are skipped, the
// rest is the file. What can be read is encoded as well, one token a byte. Only Error may come out.
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/error.h"
#include "data/encode.h"
#include "data/reader.h"

namespace {

using namespace moxie;

text::Encoding encode_bytes(std::string_view text, bool) {
  text::Encoding encoding;
  for (size_t i = 0; i < text.size(); ++i) {
    encoding.ids.push_back(static_cast<unsigned char>(text[i]));
    encoding.offsets.emplace_back(i, i + 1);
  }
  return encoding;
}

// Earlier turns lose what stands before a ')', as thoughts do in some templates.
text::RenderedChat render(const Json& messages, bool add_generation_prompt, const Json&,
                          const Json&) {
  std::string text;
  for (size_t i = 0; i < messages.size(); ++i) {
    auto words = messages[i]["content"].get<std::string>();
    if (i + 1 < messages.size()) words = words.substr(words.find(')') + 1);
    text += messages[i]["role"].get<std::string>() + ":" + words + "\n";
  }
  return {text + (add_generation_prompt ? "assistant:" : ""), {}};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  if (size == 0) return 0;
  const auto kind = static_cast<data::FileKind>(bytes[0] % 4);
  const bool skip_bad = (bytes[0] & 4) != 0;
  const data::Encoder encoder({encode_bytes, render, [](int32_t id) { return id == '\n'; }, "</s>"},
                              {64, "auto"});
  try {
    data::Reader reader({reinterpret_cast<const char*>(bytes) + 1, size - 1}, "fuzz", kind,
                        {.format = {}, .skip_bad = skip_bad});
    while (const auto record = reader.next()) {
      try {
        for (const auto& sample : encoder.encode(*record)) {
          MOXIE_ASSERT(sample.tokens.size() == sample.is_learnt.size());
          MOXIE_ASSERT(sample.tokens.size() <= 64 && sample.learnt_count() > 0);
        }
      } catch (const Error& error) {
        if (error.code() == ErrorCode::kInternal) throw;
      }
    }
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kInternal) __builtin_trap();
  }
  return 0;
}
