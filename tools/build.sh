#!/usr/bin/env bash
# Configures and builds one preset: tools/build.sh [PRESET [JOBS [TARGET...]]], by default release.
set -euo pipefail
. "$(dirname "$0")/common.sh"
cd "$root"

preset=${1:-release}
jobs=${2:-$(nproc)}
targets=("${@:3}")
step "configuring $preset" cmake --preset "$preset" -DCMAKE_MESSAGE_LOG_LEVEL=WARNING >&2
step "building $preset with $jobs jobs" \
  cmake --build "build/$preset" -j "$jobs" ${targets[@]+--target "${targets[@]}"} >&2
