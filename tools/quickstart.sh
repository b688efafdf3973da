#!/usr/bin/env bash
# From a fresh clone to a tuned model: installs, builds, fetches SmolLM2-135M-Instruct, measures it on
# held-out household commands, teaches it with LoRA, measures again and shows the difference.
#
# Settings through the environment: MOXIE_MODEL (a GGUF file or model directory of your own),
# MOXIE_OUT (where the adapter goes, default out/home-commands).
set -euo pipefail
. "$(dirname "$0")/common.sh"
cd "$root"

data=examples/home-commands
out=${MOXIE_OUT:-out/home-commands}
moxie=build/release/moxie
began=$SECONDS

evaluate() { # RESULT.json PREDICTIONS.jsonl [more arguments]
  "$moxie" eval "$model" --data "$data/heldout.jsonl" --metric exact_match \
    --max-tokens 32 --predictions "$2" --json "${@:3}" >"$1"
}

train() {
  "$moxie" tune "$model" --data "$data/train.jsonl" --out "$out" --method lora \
    --rank 16 --alpha 32 --lr 1e-3 --epochs 2 --batch-size 8 --max-length 128
}

step "installing what is missing" tools/setup.sh
step "building" tools/build.sh release "$(nproc)" moxie
model=$(tools/fetch_model.sh)
mkdir -p "$out"

say
say "The model has not seen this task yet: $(grep -c . "$data/heldout.jsonl") held-out commands, one JSON answer each."
step "measuring before" evaluate "$out/before.json" "$out/before.jsonl"
say
say "Teaching it with $(grep -c . "$data/train.jsonl") other commands, in other words ($data/README.md)."
step "training" train
say
step "measuring after" evaluate "$out/after.json" "$out/after.jsonl" --adapter "$out"

python3 tools/show_samples.py "$data/heldout.jsonl" "$out" --seconds $((SECONDS - began))
cat <<TEXT

Talk to it (try: dim the bedroom lights to forty percent):
  $moxie chat $model --adapter $out --system "Reply with JSON."

The run's report: $out/report.html
Your own data: $moxie tune $model --data YOURS.jsonl --out out/mine
TEXT
