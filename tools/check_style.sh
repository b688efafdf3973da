#!/usr/bin/env bash
# The style checks: formatting, naming, sizes, scripts. Prints every finding, fails if there is one.
#
#   tools/check_style.sh              all of it (build/release must be configured, for clang-tidy)
#   tools/check_style.sh --no-tidy    without clang-tidy, in seconds
#   tools/check_style.sh --only-tidy  clang-tidy alone
#
# Layout rules (layers, registries, machine paths) are tests: tests/repo/.
set -euo pipefail
. "$(dirname "$0")/common.sh"
cd "$root"

# What git knows plus what it does not ignore, so that a new file is checked before its first commit.
files() { git ls-files --cached --others --exclude-standard -- "$@" | while read -r f; do [ ! -f "$f" ] || echo "$f"; done; }

check_format() {
  local major
  major=$(clang-format --version | grep -oE '[0-9]+\.[0-9]+' | head -n 1 | cut -d. -f1)
  if [ "$major" != 14 ]; then
    say "SKIPPED: clang-format $major formats some lines unlike version 14, which this project uses"
    return 0
  fi
  files '*.cpp' '*.h' | grep -v '^rust/' | xargs -r clang-format --dry-run -Werror
}

check_sizes() {
  local found=0 file lines
  while read -r file; do
    lines=$(wc -l <"$file")
    if ((lines > 600)); then
      say "$file has $lines lines; the limit is 600: split it by what its parts do"
      found=1
    fi
  done < <(files 'src/*' 'rust/*.rs' 'tests/*.cpp' 'tests/*.h' 'tools/*' 'fuzz/*.cpp' 'bench/*.cpp')
  return $found
}

check_scripts() {
  local file
  while read -r file; do bash -n "$file" || return 1; done < <(files '*.sh' .ci/run)
  files '*.py' | xargs -r python3 -c 'import ast, sys
for name in sys.argv[1:]:
    ast.parse(open(name, encoding="utf-8").read(), name)'
}

check_rust() {
  if ! command -v rustfmt >/dev/null; then
    say "SKIPPED: rustfmt is not there"
    return 0
  fi
  local sources
  mapfile -t sources < <(files 'rust/*.rs' 'rust/**/*.rs')
  ((${#sources[@]})) || return 0
  rustfmt --check --edition 2021 "${sources[@]}"
}

failures=0
run() { step "$@" || failures=$((failures + 1)); }
if [ "${1:-}" != --only-tidy ]; then
  run "clang-format" check_format
  run "file sizes" check_sizes
  run "scripts parse" check_scripts
  run "rustfmt" check_rust
fi
if [ "${1:-}" != --no-tidy ]; then
  run "clang-tidy" python3 tools/tidy.py build/release --seconds "${MOXIE_TIDY_SECONDS:-360}"
fi
((failures == 0)) || die "$failures style checks found something (above)"
