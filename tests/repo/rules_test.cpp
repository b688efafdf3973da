// Rules that a reader relies on and a compiler does not check: sizes, header comments, registries,
// who may print, one door to each third-party library, no path of one machine, complete notices.
#include <gtest/gtest.h>

#include <regex>
#include <set>

#include "repo/repo_files.h"

namespace moxie::repo {
namespace {

std::vector<File> sources() {
  return files_under("src", {".h", ".cpp"});
}

std::vector<File> everything_written() {
  std::vector<File> all;
  for (const char* folder :
       {"src", "tests", "tools", "cmake", "docs", "examples", "fuzz", "bench", "rust", ".ci"}) {
    for (File& file : files_under(folder, {".h", ".cpp", ".py", ".sh", ".md", ".txt", ".cmake",
                                           ".rs", ".yaml", ".list", "/run"})) {
      all.push_back(std::move(file));
    }
  }
  return all;
}

// Lines of a file where `pattern` occurs outside a // comment, as "path:line".
std::vector<std::string> occurrences(const File& file, const std::regex& pattern) {
  std::vector<std::string> found;
  for (size_t i = 0; i < file.lines.size(); ++i) {
    const std::string code = file.lines[i].substr(0, file.lines[i].find("//"));
    if (std::regex_search(code, pattern)) found.push_back(file.path + ":" + std::to_string(i + 1));
  }
  return found;
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += "\n  " + word;
  return out;
}

TEST(Rules, NoFileIsLongerThanSixHundredLines) {
  const auto files = sources();
  ASSERT_GT(files.size(), 50u);
  for (const File& file : files) {
    EXPECT_LE(file.lines.size(), 600u) << file.path << ": split it by what its parts do";
  }
}

TEST(Rules, EveryHeaderSaysWhatItIs) {
  for (const File& file : files_under("src", {".h"})) {
    bool is_guarded = false;
    bool is_explained = false;
    for (const std::string& line : file.lines) {
      is_guarded |= line == "#pragma once";
      is_explained |= line.find("// ") != std::string::npos;
    }
    // A file that is included several times on purpose is named for it.
    EXPECT_TRUE(is_guarded || file.path.ends_with("_impl.h")) << file.path;
    EXPECT_TRUE(is_explained) << file.path << ": say what it is for";
  }
}

TEST(Rules, RegistriesAreOneEntryALineWithoutRepeats) {
  const std::regex entry("^ENTRY\\(([a-z0-9_]+)\\)(\\s*//.*)?$");
  size_t rows = 0;
  for (const File& file : files_under("src", {".list"})) {
    std::set<std::string> names;
    for (const std::string& line : file.lines) {
      if (line.empty() || line.starts_with("//")) continue;
      std::smatch match;
      ASSERT_TRUE(std::regex_match(line, match, entry)) << file.path << ": " << line;
      EXPECT_TRUE(names.insert(match[1]).second) << file.path << " lists " << match[1] << " twice";
      ++rows;
    }
    EXPECT_FALSE(names.empty()) << file.path;
  }
  EXPECT_GT(rows, 10u);
}

TEST(Rules, OnlyTheAppPrintsOrLeaves) {
  const std::regex printing(
      R"(\bstd::(cout|cerr|clog|exit|abort|quick_exit|terminate)\b|\bfmt::print\b|(^|[^a-z_:])(printf|fprintf|puts|exit|abort)\s*\()");
  std::vector<std::string> found;
  for (const File& file : sources()) {
    if (file.path.starts_with("src/app/")) continue;
    for (const std::string& place : occurrences(file, printing)) found.push_back(place);
  }
  EXPECT_TRUE(found.empty()) << "the library returns or throws (base/error.h):" << joined(found);
}

// A library that is named in one place can be replaced in one place.
TEST(Rules, ThirdPartyHeadersComeThroughOneDoor) {
  struct Door {
    const char* include;
    const char* allowed;  // a regular expression over paths
  };
  const std::vector<Door> doors = {
      {"nlohmann/(?!json_fwd)", "src/base/json\\.h"},
      {"spdlog/", "src/(base|app)/.*"},
      {"(oneapi/dnnl|dnnl)", "src/kernels/.*"},
      {"omp\\.h", "src/(base/threads\\.cpp|kernels/.*)"},
      {"sqlite3", "src/(recipes|train|app)/.*"},
      {"curl/", "src/(io|app)/.*"},
      {"yaml-cpp/", "src/recipes/.*"},
      {"CLI/", "src/app/.*"},
      {"httplib", "src/app/.*"},
  };
  const auto files = sources();
  for (const Door& door : doors) {
    const std::regex include(std::string("#\\s*include\\s+[<\"]") + door.include);
    const std::regex allowed(door.allowed);
    for (const File& file : files) {
      if (std::regex_match(file.path, allowed)) continue;
      EXPECT_TRUE(occurrences(file, include).empty())
          << file.path << " includes " << door.include << ", which belongs to " << door.allowed;
    }
  }
}

TEST(Rules, NoPathOfOneMachineAndNothingPutOff) {
  // Put together here, so that this file does not hold what it looks for.
  const std::string slash = "/";
  const std::regex machine("(^|[\\s\"'=(:])" + slash + "(root|work|Users)" + slash);
  const std::regex put_off(std::string("\\b(TO") + "DO|FIX" + "ME|X" + "XX)\\b");
  const auto files = everything_written();
  ASSERT_GT(files.size(), 80u);
  for (const File& file : files) {
    for (size_t i = 0; i < file.lines.size(); ++i) {
      EXPECT_FALSE(std::regex_search(file.lines[i], machine)) << file.path << ":" << i + 1;
      EXPECT_FALSE(std::regex_search(file.lines[i], put_off)) << file.path << ":" << i + 1;
    }
  }
}

TEST(Rules, TestsMirrorTheSource) {
  const std::filesystem::path root = MOXIE_SOURCE_DIR;
  const std::set<std::string> others = {"golden", "reference", "repo", "e2e", "install"};
  for (const auto& entry : std::filesystem::directory_iterator(root / "tests")) {
    if (!entry.is_directory()) continue;
    const std::string name = entry.path().filename().string();
    if (others.count(name)) continue;
    EXPECT_TRUE(std::filesystem::exists(root / "src" / name))
        << "tests/" << name << " has no src/" << name;
  }
}

TEST(Rules, NoticesNameEveryDependency) {
  const std::filesystem::path root = MOXIE_SOURCE_DIR;
  const std::string notices = read_text(root / "THIRD_PARTY.md");
  ASSERT_FALSE(notices.empty());
  size_t crates = 0;
  const std::regex name("^name = \"([^\"]+)\"$");
  for (const File& lock : files_under("rust", {"Cargo.lock"})) {
    for (const std::string& line : lock.lines) {
      std::smatch match;
      if (!std::regex_match(line, match, name) || match[1] == "moxie_text") continue;
      ++crates;
      EXPECT_NE(notices.find("| " + match[1].str() + " |"), std::string::npos)
          << "THIRD_PARTY.md lacks the crate " << match[1] << ": run tools/third_party.py";
    }
  }
  EXPECT_GT(crates, 10u);
}

}  // namespace
}  // namespace moxie::repo
