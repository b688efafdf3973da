#pragma once
// The edge of the program: the one place where errors become text and exit codes.
// 0 done, 1 failed, 2 the command was wrong, 130 interrupted.
#include <string>
#include <vector>

namespace moxie::cli {

int run(const std::vector<std::string>& words);  // without the program's own name

}  // namespace moxie::cli
