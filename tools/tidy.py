#!/usr/bin/env python3
"""Runs clang-tidy over src/, two files at a time, and remembers what was clean.

    tidy.py BUILD_DIR [--seconds N] [FILE...]

A file is skipped if it was clean before with the same bytes, the same project headers (taken
transitively) and the same .clang-tidy; the memory is in the user's cache folder. --seconds bounds
the run: what was not reached is named, and is first in line the next time.
"""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "moxie/tidy"
INCLUDE = re.compile(rb'^\s*#\s*include\s+"([^"]+)"', re.M)


def closure(path, seen):
    """The file and every project header it includes, directly or through others."""
    if path in seen:
        return
    seen.add(path)
    for name in INCLUDE.findall(path.read_bytes()):
        for base in (ROOT / "src", path.parent):
            header = (base / name.decode()).resolve()
            if header.is_file():
                closure(header, seen)
                break


def stamp_of(path, tool_version):
    files = set()
    closure(path, files)
    digest = hashlib.sha256(tool_version + (ROOT / ".clang-tidy").read_bytes())
    for file in sorted(files):
        digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return CACHE / digest.hexdigest()


def parse_arguments(arguments):
    build, seconds, files = None, float("inf"), []
    while arguments:
        word = arguments.pop(0)
        if word == "--seconds":
            seconds = float(arguments.pop(0))
        elif build is None:
            build = pathlib.Path(word)
        else:
            files.append(pathlib.Path(word).resolve())
    if build is None:
        raise SystemExit(__doc__)
    return build, seconds, files


def sources(build, files):
    database = json.loads((build / "compile_commands.json").read_text())
    known = {(pathlib.Path(e["directory"]) / e["file"]).resolve() for e in database}
    inside = sorted(f for f in known if f.is_relative_to(ROOT / "src") and f.is_file())
    return [f for f in inside if not files or f in files]


def database_for_clang(build, folder):
    """The build's database in `folder`, without the flags that only GCC has."""
    text = (build / "compile_commands.json").read_text()
    (pathlib.Path(folder) / "compile_commands.json").write_text(re.sub(r"-fno-tree-[a-z]+ ", "", text))


def main():
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(check_all(folder, *parse_arguments(sys.argv[1:])))


def check_all(folder, build, seconds, files):
    """The exit code: 1 where something was found."""
    database_for_clang(build, folder)
    version = subprocess.run(["clang-tidy", "--version"], capture_output=True, check=True).stdout
    CACHE.mkdir(parents=True, exist_ok=True)
    every = sources(build, files)
    if not every:
        raise SystemExit(f"no source of src/ is in {build}/compile_commands.json: configure it first")
    todo = [(f, stamp) for f in every if not (stamp := stamp_of(f, version)).exists()]
    deadline = time.monotonic() + seconds
    failed, left = [], []

    def check(item):
        file, stamp = item
        if time.monotonic() > deadline:
            left.append(file)
            return
        # GCC's warning flags are in the database; clang need not know each of them.
        result = subprocess.run(
            ["clang-tidy", "-p", folder, "--quiet", "--extra-arg=-Wno-unknown-warning-option",
             str(file)], capture_output=True, text=True)
        if result.returncode == 0:
            stamp.touch()
        else:
            failed.append(file)
            print(result.stdout, end="", flush=True)
            if "error:" not in result.stdout:
                print(result.stderr, end="", flush=True)

    workers = max(1, len(os.sched_getaffinity(0)))
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        list(pool.map(check, todo))
    print(f"clang-tidy: {len(every)} files, {len(every) - len(todo)} known to be clean, "
          f"{len(todo) - len(left)} checked, {len(failed)} with findings")
    if left:
        print(f"clang-tidy: OUT OF TIME, {len(left)} files NOT checked in this run:",
              *(str(f.relative_to(ROOT)) for f in left))
    return 1 if failed else 0


if __name__ == "__main__":
    main()
