#!/usr/bin/env bash
# Installs what building and running Moxie needs, and only what is missing.
#
#   tools/setup.sh          compiler, CMake, libraries, Rust, Python (to fetch the example model)
#   tools/setup.sh --dev    also what the checks need: clang, clang-format, clang-tidy, rustfmt, valgrind
#
# Debian 12 and Ubuntu 24.04 or later are served through apt-get; elsewhere it prints the list.
set -euo pipefail
. "$(dirname "$0")/common.sh"

packages=(
  g++ make cmake ninja-build ccache pkg-config git
  libdnnl-dev ocl-icd-opencl-dev nlohmann-json3-dev libcli11-dev libyaml-cpp-dev libfmt-dev libspdlog-dev
  libcpp-httplib-dev libsqlite3-dev libcurl4-openssl-dev libssl-dev libgtest-dev libbenchmark-dev
  python3 python3-pip ca-certificates
)
dev_packages=(clang clang-format clang-tidy libomp-dev python3-venv valgrind)
needed_cmake=3.25
needed_rust=1.85

newer_or_equal() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | tail -n 1)" = "$1" ]; }

has_rust() {
  command -v cargo >/dev/null && command -v rustc >/dev/null &&
    newer_or_equal "$(cargo --version | awk '{print $2}')" "$needed_rust"
}

explain_other_systems() {
  cat >&2 <<'TEXT'
Moxie's setup knows Debian and Ubuntu. On another system install these yourself and run make again:

  Fedora   sudo dnf install gcc-c++ make cmake ninja-build ccache pkgconf git onednn-devel json-devel
           cli11-devel yaml-cpp-devel fmt-devel spdlog-devel cpp-httplib-devel sqlite-devel
           libcurl-devel openssl-devel gtest-devel google-benchmark-devel cargo python3-pip
  Arch     sudo pacman -S gcc make cmake ninja ccache pkgconf git onednn nlohmann-json cli11 yaml-cpp
           fmt spdlog cpp-httplib sqlite curl openssl gtest benchmark rust python-pip
  macOS and Windows are not supported; a Linux container or WSL2 with Debian or Ubuntu works.

Needed: a C++20 compiler (GCC 11 or Clang 14), CMake 3.25, Rust 1.85, Linux on x86-64.
TEXT
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "need root to run '$*', and sudo is not there: run tools/setup.sh as root once"
  fi
}

is_installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

updated=
apt_install() {
  if [ -z "$updated" ]; then
    as_root apt-get update -q
    updated=yes
  fi
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
}

install_missing() {
  local missing=() name
  for name in "$@"; do
    is_installed "$name" || missing+=("$name")
  done
  # A tool on the path from elsewhere (a newer CMake, say) is as good as the package.
  local wanted=()
  for name in ${missing[@]+"${missing[@]}"}; do
    case $name in
      g++ | make | cmake | ccache | git | python3 | clang | clang-format | clang-tidy | valgrind)
        command -v "$name" >/dev/null && continue ;;
      ninja-build) command -v ninja >/dev/null && continue ;;
      pkg-config) command -v pkg-config >/dev/null && continue ;;
      python3-pip) python3 -m pip --version >/dev/null 2>&1 && continue ;;
      python3-venv) python3 -c 'import venv, ensurepip' 2>/dev/null && continue ;;
    esac
    wanted+=("$name")
  done
  ((${#wanted[@]})) || return 0
  step "installing ${wanted[*]}" apt_install "${wanted[@]}"
}

# Links cargo and rustc of a versioned package into the cache, where common.sh looks first.
link_versioned_rust() {
  mkdir -p "$moxie_cache/bin"
  local tool
  for tool in cargo rustc rustdoc; do
    ln -sf "/usr/bin/$tool-$1" "$moxie_cache/bin/$tool"
  done
}

install_rust() {
  if has_rust; then return 0; fi
  say "== Rust $needed_rust or later is not there; looking for a package"
  [ -n "$updated" ] || as_root apt-get update -q
  updated=yes
  local candidate version
  candidate=$(apt-cache policy cargo-web | awk '/Candidate:/ {print $2}')
  if [ -n "$candidate" ] && [ "$candidate" != "(none)" ] && newer_or_equal "$candidate" "$needed_rust"; then
    step "installing cargo-web and rustc-web" apt_install cargo-web rustc-web
  else
    version=$(apt-cache search --names-only '^cargo-1\.[0-9]+$' | awk '{print $1}' |
      sed 's/^cargo-//' | sort -V | tail -n 1)
    if [ -n "$version" ] && newer_or_equal "$version" "$needed_rust"; then
      step "installing cargo-$version" apt_install "cargo-$version" "rustc-$version"
      link_versioned_rust "$version"
    else
      candidate=$(apt-cache policy cargo | awk '/Candidate:/ {print $2}')
      if [ -n "$candidate" ] && newer_or_equal "$candidate" "$needed_rust"; then
        step "installing cargo" apt_install cargo rustc
      fi
    fi
  fi
  hash -r
  has_rust || die "no package here offers Rust $needed_rust: install it with rustup" \
    "('apt-get install rustup && rustup default stable' where that package exists), then run make again"
}

check_cmake() {
  local version
  version=$(cmake --version | awk 'NR == 1 {print $3}')
  newer_or_equal "$version" "$needed_cmake" ||
    die "CMake $version is older than $needed_cmake (Ubuntu 22.04 has 3.22): install a newer one, for" \
      "example 'python3 -m pip install --user cmake ninja', put ~/.local/bin first on PATH, run make again"
}

install_dev() {
  install_missing "${dev_packages[@]}"
  # The runtime of the sanitizers and of libFuzzer comes apart from clang and has its version.
  local major
  major=$(clang -dumpversion | cut -d. -f1)
  install_missing "libclang-rt-$major-dev"
  if ! command -v rustfmt >/dev/null; then
    # The package must fit the compiler that is there, so its absence is no failure.
    is_installed rustc-web && step "installing rustfmt-web" apt_install rustfmt-web ||
      say "rustfmt is not there: the style check will leave the Rust part out"
  fi
}

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
  explain_other_systems
  # Someone who has installed the list goes on; the configure step names whatever is still missing.
  for tool in c++ cmake ninja cargo python3; do
    command -v "$tool" >/dev/null || die "'$tool' is not on PATH"
  done
  check_cmake
  exit 0
fi

install_missing "${packages[@]}"
check_cmake
install_rust
if [ "${1:-}" = --dev ]; then install_dev; fi
say "setup: everything is there ($(c++ --version | head -n 1); CMake $(cmake --version | awk 'NR == 1 {print $3}'); $(cargo --version))"
