// The text of --dry-run: marks, escapes, decoders that treat the start of a text differently.
#include "data/preview.h"

#include <gtest/gtest.h>

namespace moxie::data {
namespace {

std::string letters(const std::vector<int32_t>& ids) {
  return {ids.begin(), ids.end()};
}

TEST(Preview, MarksWhatIsLearnt) {
  const Sample sample{{'a', 'b', 'c', 'd', 'e'}, {1, 0, 1, 1, 0}, 3};
  EXPECT_EQ(preview(sample, letters, false),
            "ab[[cd]]e\n(5 tokens, 2 learnt, 3 more cut by the length limit)\n");
  EXPECT_EQ(preview({{'a', 'b'}, {0, 1}, 0}, letters, true),
            "\033[2ma\033[0m\033[1;32mb\033[0m\n(2 tokens, 1 learnt)\n");
}

TEST(Preview, EscapesControlCharacters) {
  const auto decode = [](const std::vector<int32_t>&) {
    return std::string("\033]0;title\a\r\x7F\xC2\x9B\tn\n\xC3\xA9");
  };
  EXPECT_EQ(preview({{1}, {0}, 0}, decode, false),
            "\\x1b]0;title\\x07\\x0d\\x7f\\x9b\tn\n\xC3\xA9\n(1 tokens, 0 learnt)\n");
}

// Each token is a word with its space before it, but for the first (SentencePiece).
TEST(Preview, KeepsSpacesAtMarks) {
  const auto words = [](const std::vector<int32_t>& ids) {
    std::string text;
    for (const int32_t id : ids)
      text += std::string(text.empty() ? "" : " ") + static_cast<char>(id);
    return text;
  };
  EXPECT_EQ(preview({{'a', 'b', 'c'}, {0, 1, 0}, 0}, words, false),
            "a[[ b]] c\n(3 tokens, 1 learnt)\n");
}

}  // namespace
}  // namespace moxie::data
