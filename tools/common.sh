# Shared by the scripts in tools/ and .ci/: where things are, what is being done, how long it took.
# Sourced, never run.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
moxie_cache=${XDG_CACHE_HOME:-$HOME/.cache}/moxie
# Rust under a versioned name (cargo-1.85) is reached through links that setup.sh puts here.
export PATH="$moxie_cache/bin:$PATH:$HOME/.cargo/bin"

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

# step "what it does" command...: says so, runs it, says how long it took; passes a failure on.
step() {
  local what=$1 start=$SECONDS code=0
  shift
  say "== $what"
  "$@" || code=$?
  if ((code)); then
    say "== failed after $((SECONDS - start)) s: $what"
    return "$code"
  fi
  say "== $((SECONDS - start)) s: $what"
}
