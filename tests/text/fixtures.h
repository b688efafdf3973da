#pragma once
// What the tests of src/text share: golden files, and a vocabulary small enough to read.
#include <gtest/gtest.h>

#include <string>

#include "base/error.h"
#include "base/json.h"
#include "text/tokenizer.h"

namespace moxie::text {

inline Json golden(const std::string& name) {
  return read_json_file(std::string(MOXIE_SOURCE_DIR) + "/tests/golden/text/" + name);
}

// The byte-level vocabulary of the golden file (tests/golden/text/make_tokenizers.py).
inline VocabSpec vocab_of(const Json& entry) {
  VocabSpec vocab;
  vocab.model = entry.at("model").get<std::string>();
  vocab.tokens = entry.at("tokens").get<std::vector<std::string>>();
  vocab.types = entry.at("types").get<std::vector<int32_t>>();
  vocab.scores = entry.value("scores", std::vector<float>{});
  vocab.merges = entry.value("merges", std::vector<std::string>{});
  vocab.bos = entry.at("bos").get<int32_t>();
  vocab.eos = entry.at("eos").get<int32_t>();
  if (entry.contains("unk")) vocab.unk = entry.at("unk").get<int32_t>();
  return vocab;
}

inline VocabSpec byte_vocab() {
  static const Json file = golden("tokenizers.json");
  VocabSpec vocab = vocab_of(file.at("vocabs").at("bytes"));
  vocab.pre = "smollm";
  return vocab;
}

template <class Body>
void expect_error(ErrorCode code, const std::string& part, const Body& body) {
  try {
    body();
    ADD_FAILURE() << "nothing was thrown; expected: " << part;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

}  // namespace moxie::text
