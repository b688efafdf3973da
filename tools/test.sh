#!/usr/bin/env bash
# Runs the built tests of one preset: tools/test.sh [PRESET [ctest arguments]], by default release, all.
set -euo pipefail
. "$(dirname "$0")/common.sh"
cd "$root"

preset=${1:-release}
model=$(tools/fetch_model.sh)
# Tests of the real model find it here; a test never fetches anything by itself.
export MOXIE_TEST_MODEL=$model
# Two at a time would fight over the same cores: the tests are threaded themselves.
step "testing $preset" ctest --test-dir "build/$preset" --output-on-failure "${@:2}"
