#pragma once
// The repository's own files, for tests that hold its layout to the rules in CONTRIBUTING.md.
// Paths are relative to the repository and use '/'. Build products are never among them.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace moxie::repo {

struct File {
  std::string path;
  std::vector<std::string> lines;
};

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

inline std::vector<std::string> split_lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

inline bool is_product(const std::filesystem::path& path) {
  const std::string name = path.filename().string();
  return name == "target" || name == "build" || name == "__pycache__" || name == ".git";
}

// Every file under `folder` whose name ends in one of `endings`, sorted by path.
inline std::vector<File> files_under(const std::string& folder,
                                     const std::vector<std::string>& endings) {
  const std::filesystem::path root = MOXIE_SOURCE_DIR;
  std::vector<File> found;
  if (!std::filesystem::exists(root / folder)) return found;
  auto entry = std::filesystem::recursive_directory_iterator(root / folder);
  for (; entry != std::filesystem::recursive_directory_iterator(); ++entry) {
    if (entry->is_directory() && is_product(entry->path())) entry.disable_recursion_pending();
    if (!entry->is_regular_file()) continue;
    const std::string path = std::filesystem::relative(entry->path(), root).generic_string();
    const bool wanted = std::any_of(endings.begin(), endings.end(),
                                    [&](const std::string& end) { return path.ends_with(end); });
    if (wanted) found.push_back({path, split_lines(read_text(entry->path()))});
  }
  std::sort(found.begin(), found.end(),
            [](const File& a, const File& b) { return a.path < b.path; });
  return found;
}

}  // namespace moxie::repo
