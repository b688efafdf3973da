// docs/hardening.md names the test that proves each rule: every one of them must be there.
#include <regex>
#include <set>

#include "bytes.h"

namespace moxie::io {
namespace {
namespace fs = std::filesystem;

TEST(HardeningDocs, EveryNamedTestExists) {
  const fs::path source = MOXIE_SOURCE_DIR;
  std::set<std::string> tests;
  const std::regex definition(R"(TEST(?:_F|_P)?\(\s*(\w+),\s*(\w+)\))");
  for (const auto& entry : fs::recursive_directory_iterator(source / "tests")) {
    if (entry.path().extension() != ".cpp") continue;
    const std::string text = read_text(entry.path());
    for (std::sregex_iterator it(text.begin(), text.end(), definition), end; it != end; ++it) {
      tests.insert((*it)[1].str() + "." + (*it)[2].str());
    }
  }
  const std::string text = read_text(source / "docs/hardening.md");
  const std::regex name(R"(`([A-Z]\w*\.[A-Z]\w*)`)");
  size_t seen = 0;
  for (std::sregex_iterator it(text.begin(), text.end(), name), end; it != end; ++it, ++seen) {
    EXPECT_TRUE(tests.contains((*it)[1].str())) << (*it)[1].str() << " is named but not there";
  }
  EXPECT_GE(seen, 50u);
}

}  // namespace
}  // namespace moxie::io
