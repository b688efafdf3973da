#!/usr/bin/env python3
"""How many instructions do the jobs and the hot kernels take? Counts them in a build and compares with the
numbers that are kept beside this script: the form for machines that are not quiet, and for CI.

  bench/gate/instructions.py                    build/release against instructions.json
  bench/gate/instructions.py --build FOLDER     another build folder (moxie and bench/kernels_bench)
  bench/gate/instructions.py --renew            keeps what was counted as the new numbers

Valgrind counts one thread with AVX2, on a model of a million weights, and the count of one round is that of
two less that of one: start-up and loading are not in it. More than 10% above the kept number fails, more
than 3% beside it asks for new numbers. A count is the compiler's too: under another one nothing is compared
(code 77), and gate.py --instructions OLD NEW compares two commits."""
import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import tiny_model

ROOT = pathlib.Path(__file__).resolve().parents[2]
KEPT = pathlib.Path(__file__).with_name("instructions.json")
FAILS, NOISE, SKIPPED = 1.10, 1.03, 77
JOBS = {  # name: format of the weights, arguments of moxie bench
    "train-q4_1": ("q4_1", ["train", "--batch", "2", "--tokens", "16"]),
    "prefill-q4_1": ("q4_1", ["prefill", "--tokens", "64"]),
    "prefill-bf16": ("bf16", ["prefill", "--tokens", "16"]),
    "decode-q4_1": ("q4_1", ["decode", "--tokens", "16", "--context", "16"]),
    "decode-q8_0": ("q8_0", ["decode", "--tokens", "16", "--context", "16"]),
    "decode-bf16": ("bf16", ["decode", "--tokens", "8", "--context", "16"]),
}
KERNELS = ["forward-f32-4x1536x1536", "forward-bf16-1x1536x1536", "forward-q4_1-16x1536x1536",
           "backward-q4_1-16x1536x1536", "attention-forward-64", "attention-backward-64"]


def count(command):
    ran = subprocess.run(["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null",
                          *command], capture_output=True, text=True, env={**os.environ, "MOXIE_ISA": "avx2"})
    counted = re.search(r"I\s+refs:\s+([\d,]+)", ran.stderr)
    if ran.returncode != 0 or not counted:
        raise SystemExit(f"error: valgrind could not count {' '.join(map(str, command))}:\n{ran.stderr[-2000:]}")
    return int(counted.group(1).replace(",", ""))


def count_all(build):
    """By name, the instructions of one round in this build folder."""
    with tempfile.TemporaryDirectory(prefix="moxie-count-") as folder:
        folder = pathlib.Path(folder)
        tiny_model.write(folder / "model")
        for quant in sorted({quant for quant, _ in JOBS.values()}):
            subprocess.run([build / "moxie", "export", folder / "model", "--to", "gguf", "--quant", quant, "--out",
                            folder / f"{quant}.gguf"], check=True, stdout=subprocess.DEVNULL)
        runs = {}
        for name, (quant, args) in JOBS.items():
            runs[name] = lambda rounds, quant=quant, args=args: [
                build / "moxie", "bench", args[0], folder / f"{quant}.gguf", *args[1:], "--rounds", rounds,
                "--skip-limits", "--threads", "1"]
        for name in KERNELS:
            runs[name] = lambda rounds, name=name: [build / "bench/kernels_bench", "1", rounds, "plain", name]
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            counts = {name: [pool.submit(count, run(rounds)) for rounds in "12"] for name, run in runs.items()}
            return {name: two.result() - one.result() for name, (one, two) in counts.items()}


def made_with(build):
    """What else than the source decides a count."""
    cache = dict(re.findall(r"^(\w+):\w+=(.*)$", (build / "CMakeCache.txt").read_text(), re.M))
    compiler = subprocess.run([cache["CMAKE_CXX_COMPILER"], "--version"], check=True, capture_output=True, text=True)
    return {"compiler": compiler.stdout.splitlines()[0], "build": cache["CMAKE_BUILD_TYPE"],
            "flags": f"{cache['CMAKE_CXX_FLAGS']} {cache['CMAKE_CXX_FLAGS_RELEASE']}".strip(), "isa": "avx2", "threads": 1}


def verdict(ratio, worse="more", better="less"):
    return "FAILS" if ratio > FAILS else worse if ratio > NOISE else better if ratio < 1 / NOISE else "same"


def compare(kept, counts):
    """0, or what is wrong."""
    failed, moved = [], []
    for name in kept.keys() | counts.keys():
        if name not in kept or name not in counts:
            print(f"new            {name}" if name in counts else f"gone           {name}")
            moved.append(name)
    for name in sorted(kept.keys() & counts.keys(), key=lambda n: -counts[n] / kept[n]):
        ratio = counts[name] / kept[name]
        found = verdict(ratio)
        print(f"{found:6} {ratio:6.3f}  {name}  {counts[name]:,} instructions, {kept[name]:,} kept")
        if found != "same":
            (failed if found == "FAILS" else moved).append(name)
    if moved or failed:
        print("If that is meant, keep the new numbers: bench/gate/instructions.py --renew")
    return f"a tenth more instructions: {', '.join(failed)}" if failed else 0


def main():
    parser = argparse.ArgumentParser(description="counts instructions and compares with the kept numbers")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--renew", action="store_true")
    options = parser.parse_args()
    build = options.build.resolve()
    now = made_with(build)
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {"made_with": None, "counts": {}}
    if not options.renew and kept["made_with"] != now:
        print(f"The numbers were counted with {kept['made_with']}, this build is {now}: nothing was compared.\n"
              "bench/gate/gate.py --instructions HEAD~1 HEAD compares two commits under one compiler.")
        return SKIPPED
    counts = count_all(build)
    if options.renew:
        KEPT.write_text(json.dumps({"made_with": now, "counts": counts}, indent=1) + "\n")
        return 0
    return compare(kept["counts"], counts)


if __name__ == "__main__":
    sys.exit(main())
