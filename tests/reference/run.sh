#!/usr/bin/env bash
# Compares the moxie binary with transformers, PEFT, TRL and llama.cpp, by its command line alone.
#
#   tests/reference/run.sh                       all of it (about 15 minutes on two cores)
#   tests/reference/run.sh -k tokenizer          arguments go to pytest
#   MOXIE_BINARY=/usr/bin/moxie tests/reference/run.sh
#
# The reference implementations live in a virtual environment of their own, kept in the user's cache and
# made again when requirements.txt changes. Where it cannot be made the script says so and leaves with
# code 77: the golden files (tests/golden), made from the same references, must then do alone.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
venv=${MOXIE_REFERENCE_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/moxie/reference-venv}
export MOXIE_BINARY=${MOXIE_BINARY:-$root/build/release/moxie}

say() { printf '%s\n' "$*" >&2; }
unavailable() {
  say ""
  say "!!!! NO REFERENCE IMPLEMENTATIONS: $*"
  say "!!!! Nothing was compared with transformers, PEFT, TRL or llama.cpp in this run."
  exit 77
}

if [ ! -x "$MOXIE_BINARY" ]; then
  say "error: no moxie binary at $MOXIE_BINARY: build it (make build), or set MOXIE_BINARY"
  exit 1
fi

. "$root/tools/peers_venv.sh"
peers_venv "$venv" "$here/requirements.txt" 'torch, transformers, peft, trl, gguf, llama_cpp' ||
  unavailable "tests/reference/requirements.txt could not be installed, or not imported"

# Nothing here may reach out to a model hub: every model comes from the environment or is made here.
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error TOKENIZERS_PARALLELISM=false PYTHONDONTWRITEBYTECODE=1
cd "$here"
exec "$venv/bin/python" -m pytest -p no:cacheprovider -q --durations=10 "$@" .
