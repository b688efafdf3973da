#include "app/cli/edge.h"

int main(int argc, char** argv) {
  return moxie::cli::run({argv + 1, argv + argc});
}
