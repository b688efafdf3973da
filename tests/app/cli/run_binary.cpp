#include "app/cli/run_binary.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/clock.h"

namespace moxie::cli::testing {
namespace {

struct Folder {
  std::filesystem::path path;
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "moxie-cli-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    path = pattern;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
};

std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

[[noreturn]] void become(const std::string& binary, const std::vector<std::string>& words,
                         const std::vector<std::string>& environment, const std::string files) {
  ::dup2(::open((files + ".in").c_str(), O_RDONLY), 0);
  ::dup2(::open((files + ".out").c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600), 1);
  ::dup2(::open((files + ".err").c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600), 2);
  std::vector<char*> arguments = {const_cast<char*>(binary.c_str())};
  for (const auto& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  std::vector<char*> variables;
  for (const auto& variable : environment) variables.push_back(const_cast<char*>(variable.c_str()));
  variables.push_back(nullptr);
  ::execve(binary.c_str(), arguments.data(), variables.data());
  ::_exit(127);
}

}  // namespace

std::string home() {
  static const Folder folder;
  return folder.path.string();
}

std::string write_temporary(const std::string& name, const std::string& text) {
  const std::string path = home() + "/" + name;
  std::ofstream(path, std::ios::binary) << text;
  return path;
}

Ran run_moxie(const std::vector<std::string>& words, const RunOptions& options) {
  const char* binary = std::getenv("MOXIE_BINARY");
  if (binary == nullptr) std::abort();
  static int serial = 0;
  const std::string files = home() + "/run" + std::to_string(serial++);
  std::ofstream(files + ".in", std::ios::binary) << options.input;
  std::vector<std::string> environment = {"HOME=" + home(),
                                          std::string("PATH=") + std::getenv("PATH")};
  environment.insert(environment.end(), options.environment.begin(), options.environment.end());
  const Stopwatch watch;
  const pid_t child = ::fork();
  if (child == 0) become(binary, words, environment, files);
  if (options.meanwhile) options.meanwhile(child);
  int status = 0;
  ::waitpid(child, &status, 0);
  Ran ran;
  ran.seconds = watch.seconds();
  ran.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  ran.out = slurp(files + ".out");
  ran.err = slurp(files + ".err");
  return ran;
}

}  // namespace moxie::cli::testing
