// Calls into an upper layer, a table of a registry, and the Rust part through the installed
// package.
#include <cstdio>
#include <vector>

#include "quant/format.h"
#include "text/chat_template.h"

int main() {
  const auto* row = moxie::quant::find_format(3);  // q4_1
  if (row == nullptr || (*row)->block != 32) return 1;
  std::vector<std::byte> block(static_cast<size_t>((*row)->bytes));
  std::vector<float> values(32, 1.0f);
  (*row)->decode(block.data(), values.data(), 32);
  if (values[31] != 0.0f) return 2;

  const moxie::text::ChatTemplate chat("{{ messages[0].content | upper }}", {}, "consumer");
  const moxie::Json messages = {{{"role", "user"}, {"content", "linked"}}};
  const std::string text = chat.render(messages, false).text;
  std::puts(text.c_str());
  return text == "LINKED" ? 0 : 3;
}
