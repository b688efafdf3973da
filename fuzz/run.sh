#!/bin/sh
# fuzz/run.sh SECONDS [BUILD]: runs every fuzz target for so long on a copy of its seeds. What breaks
# one is left in BUILD/fuzz/findings/ and the script fails. MOXIE_FUZZ_SEED=1 tries the same inputs each
# time, for a check that may not fail by chance; without it every run looks elsewhere.
set -eu
seconds=${1:?usage: fuzz/run.sh SECONDS [BUILD]}
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "${2:-$here/../build/asan}" && pwd)
findings=$build/fuzz/findings
mkdir -p "$findings"
found=0
failed=0
for target in "$build"/fuzz/fuzz_*; do
  [ -f "$target" ] && [ -x "$target" ] || continue
  name=$(basename "$target" | sed 's/^fuzz_//')
  corpus=$(mktemp -d)
  if [ -d "$here/corpus/$name" ]; then cp "$here/corpus/$name"/* "$corpus"/; fi
  echo "fuzz $name for $seconds s, $(ls "$corpus" | wc -l) seeds"
  if "$target" -seed="${MOXIE_FUZZ_SEED:-0}" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=1024 -malloc_limit_mb=512 \
      -max_len=65536 -print_final_stats=1 -verbosity=0 -artifact_prefix="$findings/$name-" \
      "$corpus" >"$findings/$name.log" 2>&1; then
    grep -E 'number_of_executed_units' "$findings/$name.log" || true
  else
    tail -40 "$findings/$name.log"
    failed=1
  fi
  rm -rf "$corpus"
  found=$((found + 1))
done
[ "$found" -gt 0 ] || { echo "no fuzz target in $build/fuzz: build them first" >&2; exit 1; }
exit $failed
