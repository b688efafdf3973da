// Chat templates: whatever the source, an Error or a text whose generated ranges lie inside it.
#include <cstdint>
#include <string>

#include "base/error.h"
#include "text/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace moxie;
  static const Json messages = Json::parse(
      R"([{"role":"system","content":"s"},{"role":"user","content":"hi","n":3,"l":[1,2.5,null]},)"
      R"({"role":"assistant","content":"a <b>","tool_calls":[{"function":{"name":"f","arguments":{}}}]}])");
  try {
    const text::ChatTemplate chat(std::string(reinterpret_cast<const char*>(data), size),
                                  {"<s>", "</s>", "", ""}, "fuzz");
    const auto rendered = chat.render(messages, true, Json::array({{{"name", "f"}}}));
    for (const auto& [begin, end] : rendered.generated) {
      if (begin < 0 || end < begin || end > static_cast<int64_t>(rendered.text.size()))
        __builtin_trap();
    }
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kInternal) __builtin_trap();
  }
  return 0;
}
