// A folder of src/ includes only from the folders above it; folders of one level, and the parts of
// app/, do not see each other. The order is the architecture's, and this is where it is enforced.
#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <regex>

#include "repo/repo_files.h"

namespace moxie::repo {
namespace {

const std::vector<std::vector<std::string>> kLevels = {
    {"base"},    {"tensor"},
    {"kernels"}, {"quant"},
    {"ops"},     {"nn"},
    {"mixture"}, {"optim", "losses", "io", "text"},
    {"models"},  {"adapt", "compose", "compress"},
    {"data"},    {"train"},
    {"infer"},   {"recipes"},
    {"app"},
};

std::optional<size_t> level_of(const std::string& folder) {
  for (size_t level = 0; level < kLevels.size(); ++level) {
    const auto& names = kLevels[level];
    if (std::find(names.begin(), names.end(), folder) != names.end()) return level;
  }
  return std::nullopt;
}

// "io/gguf.h" gives "io"; "app/cli/verb.h" gives "app/cli": the parts of app/ are folders of their
// own.
std::string folder_of(const std::string& path) {
  const size_t first = path.find('/');
  if (first == std::string::npos) return "";
  const std::string top = path.substr(0, first);
  const size_t second = path.find('/', first + 1);
  return top == "app" && second != std::string::npos ? path.substr(0, second) : top;
}

std::string top_of(const std::string& folder) {
  return folder.substr(0, folder.find('/'));
}

// What is wrong with a file of `from` including `header`, or nothing.
std::string complaint(const std::string& from, const std::string& header) {
  const std::string to = folder_of(header);
  // The program itself, src/app/, puts its parts together.
  if (to.empty() || to == from || (from == "app" && top_of(to) == "app")) return "";
  const auto from_level = level_of(top_of(from));
  const auto to_level = level_of(top_of(to));
  if (!from_level) return "folder '" + from + "' is not in the list of layers";
  if (!to_level) return "'" + header + "' is in no layer: write the path from src/";
  if (*to_level > *from_level) return "'" + header + "' is below '" + from + "'";
  if (*to_level == *from_level) return "'" + header + "' is beside '" + from + "'";
  return "";
}

std::vector<std::string> included_headers(const File& file) {
  static const std::regex kInclude("^\\s*#\\s*include\\s+\"([^\"]+)\"");
  std::vector<std::string> headers;
  std::smatch match;
  for (const std::string& line : file.lines) {
    if (std::regex_search(line, match, kInclude)) headers.push_back(match[1]);
  }
  return headers;
}

// Headers of a foreign language's bridge and generated tables lie outside src/.
bool is_outside(const std::string& header) {
  return header.ends_with(".list") || header == "moxie_text.h";
}

TEST(Layers, EveryIncludeLooksUp) {
  size_t seen = 0;
  for (const File& file : files_under("src", {".h", ".cpp"})) {
    const std::string from = folder_of(file.path.substr(4));
    for (const std::string& header : included_headers(file)) {
      if (is_outside(header)) continue;
      ++seen;
      EXPECT_EQ(complaint(from, header), "") << "in " << file.path;
    }
  }
  EXPECT_GT(seen, 100u);
}

TEST(Layers, EveryQuotedIncludeIsThere) {
  const std::filesystem::path src = std::filesystem::path(MOXIE_SOURCE_DIR) / "src";
  for (const File& file : files_under("src", {".h", ".cpp"})) {
    for (const std::string& header : included_headers(file)) {
      if (is_outside(header)) continue;
      EXPECT_TRUE(std::filesystem::exists(src / header))
          << file.path << " includes \"" << header << "\": write the path from src/";
    }
  }
}

TEST(Layers, TheRuleRefusesWhatItShould) {
  EXPECT_EQ(complaint("ops", "tensor/tensor.h"), "");
  EXPECT_EQ(complaint("ops", "ops/tape.h"), "");
  EXPECT_EQ(complaint("app/cli", "recipes/config.h"), "");
  EXPECT_EQ(complaint("app", "app/cli/verb.h"), "");
  EXPECT_NE(complaint("tensor", "ops/tape.h"), "");
  EXPECT_NE(complaint("io", "text/tokenizer.h"), "");
  EXPECT_NE(complaint("compose", "adapt/lora.h"), "");
  EXPECT_NE(complaint("train", "infer/sampler.h"), "");
  EXPECT_NE(complaint("app/cli", "app/server/server.h"), "");
  EXPECT_NE(complaint("plugins", "base/error.h"), "");
  EXPECT_NE(complaint("ops", "helpers/misc.h"), "");
}

// What CMake links follows the same order, or a target would reach what its sources may not.
TEST(Layers, LinkedFoldersAreAboveToo) {
  size_t seen = 0;
  const std::regex words("[a-z_]+");
  for (const File& file : files_under("src", {"CMakeLists.txt"})) {
    const std::string folder = folder_of(file.path.substr(4));
    if (folder.empty()) continue;
    std::string text;
    for (const std::string& line : file.lines) text += line + "\n";
    std::smatch match;
    if (!std::regex_search(text, match, std::regex("DEPS([a-z_\\s]+)"))) continue;
    const std::string deps = match[1];
    for (auto word = std::sregex_iterator(deps.begin(), deps.end(), words);
         word != std::sregex_iterator(); ++word) {
      ++seen;
      EXPECT_EQ(complaint(folder, word->str() + "/any.h"), "") << "in " << file.path;
    }
  }
  EXPECT_GT(seen, 10u);
}

}  // namespace
}  // namespace moxie::repo
