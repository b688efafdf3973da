// The vocabularies of two published models give llama.cpp's ids (tests/golden/text, made by
// make_real_vocabularies.py), read from their files and written again as a GGUF file's vocabulary.
// The files are not in the repository: tools/fetch_model.sh says where they are, and fetches them.
#include <gtest/gtest.h>

#include <array>
#include <cstdio>

#include "base/json.h"
#include "models/text_parts.h"
#include "text/vocab_of.h"

namespace moxie {
namespace {

const std::string kSource = MOXIE_SOURCE_DIR;

// The path, or "" after a failure that says why.
std::string fetched(const std::string& name) {
  std::FILE* pipe =
      ::popen(("'" + kSource + "/tools/fetch_model.sh' " + name + " 2>&1").c_str(), "r");
  std::string output;
  std::array<char, 4096> buffer{};
  while (pipe != nullptr && std::fgets(buffer.data(), buffer.size(), pipe) != nullptr)
    output += buffer.data();
  if (pipe == nullptr || ::pclose(pipe) != 0) {
    ADD_FAILURE() << "tools/fetch_model.sh " << name << " failed, and without the model its "
                  << "tokenizer is not tested:\n"
                  << output;
    return "";
  }
  output.resize(output.find_last_not_of('\n') + 1);
  return output.substr(output.rfind('\n') + 1);
}

TEST(RealTokenizers, IdsEqualLlamaCpp) {
  const Json file = read_json_file(kSource + "/tests/golden/text/real_vocabularies.json");
  const auto texts = file.at("texts").get<std::vector<std::string>>();
  ASSERT_GE(texts.size(), 19u);
  ASSERT_EQ(file.at("models").size(), 2u);
  size_t ids = 0;
  for (const auto& [name, wanted] : file.at("models").items()) {
    SCOPED_TRACE(name);
    const std::string path = fetched(name);
    if (path.empty()) continue;  // a failure already
    const auto parts = models::load_text_parts(*io::GgufFile::open(path));
    ASSERT_NE(parts.tokenizer, nullptr);
    const int64_t rows = parts.tokenizer->vocab_size();
    const auto again = text::Tokenizer::from_vocab(
        text::vocab_of(*parts.tokenizer, rows, {parts.bos, parts.eos, parts.pad},
                       text::telling_texts(*parts.tokenizer, rows), name),
        name);
    ASSERT_EQ(wanted.size(), texts.size());
    for (size_t i = 0; i < texts.size(); ++i) {
      const auto expected = wanted.at(i).get<std::vector<int32_t>>();
      EXPECT_EQ(parts.tokenizer->encode(texts[i]).ids, expected) << "text " << i;
      EXPECT_EQ(again.encode(texts[i]).ids, expected) << "text " << i << ", written again";
      ids += expected.size();
    }
  }
  EXPECT_GE(ids, 1800u);
}

}  // namespace
}  // namespace moxie
