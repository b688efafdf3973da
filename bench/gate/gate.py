#!/usr/bin/env python3
"""Is one Moxie slower than another? Compares two builds, taken in turn so that both see the same weather.

  bench/gate/gate.py HEAD~1 HEAD                 two commits, built in a worktree of each
  bench/gate/gate.py build/old build/release     two build folders (moxie and bench/kernels_bench)
  bench/gate/gate.py --instructions HEAD~1 HEAD  counts instructions instead of time (instructions.py)
  bench/gate/gate.py --only train,decode A B     some of: kernels, train, prefill, decode

A median ratio (new over old) above 1.10 fails; within 3% is noise."""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import instructions

ROOT = pathlib.Path(__file__).resolve().parents[2]
JOBS = {
    "train": ["train", "--batch", "4", "--tokens", "128"],
    "prefill": ["prefill", "--tokens", "256"],
    "decode": ["decode", "--tokens", "48"],
}


def say(text):
    print(text, file=sys.stderr, flush=True)


def built(place, scratch):
    """The build folder of a commit (made here), or the folder that was given."""
    if (pathlib.Path(place) / "moxie").exists():
        return pathlib.Path(place).resolve()
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", f"{place}^{{commit}}"],
                            capture_output=True, text=True)
    if commit.returncode != 0:
        raise SystemExit(f"error: '{place}' is neither a build folder with moxie in it nor a commit")
    source = scratch / commit.stdout.strip()
    if not source.exists():
        say(f"== building {place} ({source.name})")
        quiet = {"check": True, "stdout": subprocess.DEVNULL}
        subprocess.run(["git", "-C", ROOT, "worktree", "add", "--detach", source, source.name], **quiet)
        subprocess.run(["cmake", "--preset", "release", "-DMOXIE_BENCH=ON", "-DMOXIE_TESTS=OFF"], cwd=source,
                       **quiet)
        subprocess.run(["cmake", "--build", "build/release", "-j", str(os.cpu_count()), "--target", "moxie",
                        "kernels_bench"], cwd=source, **quiet)
    return source / "build/release"


def job_seconds(build, args, model):
    command = [build / "moxie", "bench", args[0], model, *args[1:], "--rounds", "1", "--skip-limits", "--json"]
    return 1 / json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)[
        "tokens_per_second"]


def kernel_seconds(build):
    out = subprocess.run([build / "bench/kernels_bench", str(os.cpu_count()), "3", "plain"], check=True,
                         capture_output=True, text=True).stdout
    return {name: float(seconds) for name, seconds in (line.split() for line in out.splitlines())}


def measure_times(builds, only, model, rounds):
    """By name, the ratios of each round."""
    ratios = {}
    for index in range(rounds):
        # Who goes first changes from round to round.
        order = (0, 1) if index % 2 == 0 else (1, 0)
        for name, args in JOBS.items():
            if name in only:
                took = {i: job_seconds(builds[i], args, model) for i in order}
                ratios.setdefault(name, []).append(took[1] / took[0])
        if "kernels" in only:
            took = {i: kernel_seconds(builds[i]) for i in order}
            for name in took[0].keys() & took[1].keys():
                ratios.setdefault(name, []).append(took[1][name] / took[0][name])
        say(f"   round {index + 1} of {rounds}")
    return ratios


def measure_counts(builds, only):
    old, new = (instructions.count_all(build) for build in builds)
    return {name: [new[name] / old[name]] for name in old if any(name.startswith(part) for part in only)}


def judge(ratios):
    failed = []
    for name in sorted(ratios, key=lambda n: -statistics.median(ratios[n])):
        ratio = statistics.median(ratios[name])
        found = instructions.verdict(ratio, "slower", "faster")
        print(f"{found:6} {ratio:6.3f}  ({min(ratios[name]):.3f} to {max(ratios[name]):.3f})  {name}")
        if found == "FAILS":
            failed.append(name)
    return failed


def main():
    parser = argparse.ArgumentParser(description="is one Moxie slower than another?")
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--instructions", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="kernels,train,prefill,decode")
    parser.add_argument("--model", help="a GGUF file; the quickstart's when not given")
    options = parser.parse_args()
    model = options.model
    if not model and not options.instructions:
        model = subprocess.run([ROOT / "tools/fetch_model.sh"], check=True, capture_output=True,
                               text=True).stdout.strip()
    only = options.only.split(",")
    if "kernels" in only:
        only += ["forward", "backward", "attention"]
    with tempfile.TemporaryDirectory(prefix="moxie-gate-") as folder:
        try:
            builds = [built(place, pathlib.Path(folder)) for place in (options.old, options.new)]
            ratios = (measure_counts(builds, only) if options.instructions else
                      measure_times(builds, only, model, options.rounds))
        finally:
            for source in pathlib.Path(folder).iterdir():
                subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", source], check=False)
    if not ratios:
        return "error: nothing was compared; --only takes kernels, train, prefill, decode"
    failed = judge(ratios)
    return f"slower by more than a tenth: {', '.join(failed)}" if failed else 0


if __name__ == "__main__":
    sys.exit(main())
