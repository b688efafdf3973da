#!/usr/bin/env bash
# Measures Moxie against PyTorch + PEFT, llama.cpp and OpenVINO GenAI, each pair interleaved, and writes
# the tables of docs/performance.md.
#
#   bench/peers/run.sh                     every job, three rounds each
#   bench/peers/run.sh prefill decode      the jobs whose names begin so; --list shows all
#   bench/peers/run.sh --rounds 9 train    more rounds
#   bench/peers/run.sh --tables            write the tables again from the kept results
#
# The peers live in a virtual environment of their own (MOXIE_PEERS_VENV), made on first use; llama.cpp
# is built there from the source that llama-cpp-python carries, with this machine's instructions.
# MOXIE_BINARY names another moxie than build/release/moxie.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=${MOXIE_PEERS_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/moxie/peers-venv}

. "$here/../../tools/peers_venv.sh"
peers_venv "$venv" "$here/requirements.txt" 'torch, transformers, peft, gguf, llama_cpp, openvino_genai'
# No peer may fetch anything, and none computes with more threads than there are cores.
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error TOKENIZERS_PARALLELISM=false PYTHONDONTWRITEBYTECODE=1
exec "$venv/bin/python" "$here/run.py" "$@"
