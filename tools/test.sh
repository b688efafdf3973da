#!/usr/bin/env bash
# Runs the built tests of one preset: tools/test.sh [PRESET [ctest arguments]], by default release, all.
set -euo pipefail
. "$(dirname "$0")/common.sh"
cd "$root"

preset=${1:-release}
# Tests of real models ask the same script where they are; here a download has no time limit.
for model in smollm2 gemma3; do tools/fetch_model.sh $model >/dev/null; done
# Two at a time would fight over the same cores: the tests are threaded themselves.
step "testing $preset" ctest --test-dir "build/$preset" --output-on-failure "${@:2}"
