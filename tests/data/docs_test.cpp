// The examples of docs/data-formats.md, as they stand there: a fence "```KIND SHAPE" is read as a
// file of that kind, a fence "```preview" is what learning the example before it looks like.
#include <gtest/gtest.h>

#include <map>
#include <sstream>

#include "base/error.h"
#include "base/files.h"
#include "data/encode.h"
#include "data/preview.h"
#include "data/reader.h"
#include "data/shape.h"

namespace moxie::data {
namespace {

struct Fence {
  std::string kind, shape, body;
};

std::vector<Fence> fences() {
  const auto page = std::filesystem::path(MOXIE_SOURCE_DIR) / "docs/data-formats.md";
  std::istringstream lines(read_file(page));
  std::vector<Fence> found;
  bool is_open = false;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("```")) {
      if (is_open) found.back().body += line + "\n";
    } else if (is_open) {
      is_open = false;
    } else {
      is_open = true;
      std::istringstream words(line.substr(3));
      Fence& fence = found.emplace_back();
      words >> fence.kind >> fence.shape;
    }
  }
  return found;
}

text::Encoding encode_bytes(std::string_view text, bool) {
  text::Encoding encoding;
  for (size_t i = 0; i < text.size(); ++i) {
    encoding.ids.push_back(static_cast<unsigned char>(text[i]));
    encoding.offsets.emplace_back(i, i + 1);
  }
  return encoding;
}

text::RenderedChat chatml(const Json& messages, bool add_generation_prompt, const Json&,
                          const Json&) {
  std::string text;
  for (const Json& turn : messages) {
    text += "<|im_start|>" + turn["role"].get<std::string>() + "\n" +
            turn["content"].get<std::string>() + "<|im_end|>\n";
  }
  return {text + (add_generation_prompt ? "<|im_start|>assistant\n" : ""), {}};
}

std::string shown(const Record& record) {
  const Encoder encoder({encode_bytes, chatml, {}, "</s>"}, {0, "auto"});
  const std::string text = preview(
      encoder.encode(record).at(0),
      [](const std::vector<int32_t>& ids) { return std::string(ids.begin(), ids.end()); }, false);
  return text.substr(0, text.rfind("\n("));
}

TEST(Docs, EveryExampleIsReadAsThePageSays) {
  const std::map<std::string, FileKind> kinds{{"jsonl", FileKind::kJsonl},
                                              {"json", FileKind::kJsonArray},
                                              {"csv", FileKind::kCsv},
                                              {"text", FileKind::kText}};
  std::map<std::string, int> examples;
  int previews = 0;
  std::optional<Record> last;
  for (const Fence& fence : fences()) {
    SCOPED_TRACE(fence.body);
    if (fence.kind == "preview") {
      ASSERT_TRUE(last);
      std::string wanted = fence.body;
      wanted.pop_back();
      EXPECT_EQ(shown(*last), wanted);
      ++previews;
    }
    if (!kinds.contains(fence.kind)) continue;
    const auto& shape = require_row(shape_table(), "format", fence.shape);
    ++examples[fence.shape];
    if (fence.kind == "jsonl") {
      const Json row = parse_json(fence.body.substr(0, fence.body.find('\n')), "page");
      EXPECT_EQ(shape_of(row, "", "page").name, fence.shape);
    }
    if (shape->convert == nullptr) continue;
    Reader reader(fence.body, "page", kinds.at(fence.kind), {});
    while (auto record = reader.next()) last = std::move(record);
    EXPECT_GE(reader.rows(), 1);
  }
  EXPECT_EQ(previews, 2);
  EXPECT_EQ(examples.size(), shape_table().size()) << "each shape has an example on the page";
}

TEST(Docs, TheMessageOnThePageIsTheRealOne) {
  std::string page;
  for (const Fence& fence : fences()) {
    if (fence.kind.empty()) page = fence.body;
  }
  std::string bytes;
  for (int line = 1; line < 17; ++line) bytes += "{\"text\": \"a\"}\n";
  bytes +=
      R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": 1}]})";
  Reader reader(bytes, "train.jsonl", FileKind::kJsonl, {});
  try {
    while (reader.next()) {
    }
    FAIL() << "line 17 was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.what() + std::string("\n"), page);
  }
}

}  // namespace
}  // namespace moxie::data
