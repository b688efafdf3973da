# Sourced before llama.cpp is built from source. What GCC 12 builds crashes where there is AMX: its
# _tile_loadconfig declares to read 8 of the 64 bytes that llama.cpp has stored for it.
if grep -qw amx_tile /proc/cpuinfo && command -v clang++ >/dev/null; then
  export CC=clang CXX=clang++
fi
