# Sourced by those who compare Moxie with others: `peers_venv VENV REQUIREMENTS MODULES` makes the virtual
# environment that holds them, or brings it up to date. Fails where a package cannot be had or imported.

peers_venv() {
  local venv=$1 requirements=$2 modules=$3 compiler=cc stamp
  # What GCC 12 makes of llama.cpp crashes where there is AMX: its _tile_loadconfig declares to read 8 of
  # the 64 bytes that llama.cpp has stored for it.
  if grep -qw amx_tile /proc/cpuinfo && command -v clang++ >/dev/null; then compiler=clang; fi
  stamp=$( (cat "$requirements"; echo "$compiler"; grep -m1 ^flags /proc/cpuinfo || true) | sha256sum | cut -d' ' -f1)
  if [ "$(cat "$venv/.made_of" 2>/dev/null || true)" = "$stamp" ]; then return 0; fi
  echo "== making the peers' environment in $venv (some gigabytes; llama.cpp is built from source)" >&2
  mkdir -p "$(dirname "$venv")"
  [ -x "$venv/bin/python" ] || python3 -m venv "$venv" || return 1
  local pip=("$venv/bin/python" -m pip --disable-pip-version-check --quiet)
  # pip keeps what it has built whatever compiler and CPU that was for, and would install it again.
  "${pip[@]}" uninstall --yes llama-cpp-python >&2 || return 1
  "${pip[@]}" cache remove 'llama_cpp_python*' >&2 || true  # fails where there is none
  if [ "$compiler" = clang ]; then local -x CC=clang CXX=clang++; fi
  CMAKE_BUILD_PARALLEL_LEVEL=$(nproc) "${pip[@]}" install -r "$requirements" >&2 || return 1
  "$venv/bin/python" -c "import $modules" || return 1
  echo "$stamp" >"$venv/.made_of"
}
