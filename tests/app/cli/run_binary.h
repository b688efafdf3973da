#pragma once
// Runs the moxie binary (MOXIE_BINARY) as a user would, in an environment of its own.
#include <functional>
#include <string>
#include <vector>

namespace moxie::cli::testing {

struct Ran {
  int code = -1;  // exit code; 128 + signal when it was killed
  std::string out, err;
  double seconds = 0;
};

struct RunOptions {
  std::vector<std::string> environment;  // "NAME=value"
  std::string input;                     // given on standard input
  std::function<void(int)> meanwhile;    // called with the process id while it runs
};

// `words` as the shell would pass them. The child sees only PATH, a HOME in `home()`, and what is
// given.
Ran run_moxie(const std::vector<std::string>& words, const RunOptions& options = {});

std::string home();  // a folder of this test run, removed at its end
std::string write_temporary(const std::string& name,
                            const std::string& text);  // its path in home()

}  // namespace moxie::cli::testing
