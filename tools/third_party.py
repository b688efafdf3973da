#!/usr/bin/env python3
"""Writes the table of Rust crates in THIRD_PARTY.md from what Cargo.lock pins.

Run it after a change of rust/*/Cargo.lock; a test fails while a crate of the lock file is missing.
Needs cargo, which reads each crate's own statement of its licence.
"""
import json
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- crates: written by tools/third_party.py -->", "<!-- end of crates -->"


def crates():
    found = {}
    for manifest in sorted(ROOT.glob("rust/*/Cargo.toml")):
        output = subprocess.run(
            ["cargo", "metadata", "--format-version", "1", "--locked", "--manifest-path", manifest],
            check=True, capture_output=True, text=True).stdout
        for package in json.loads(output)["packages"]:
            if package["source"]:  # ours have none
                found[package["name"], package["version"]] = package["license"] or "see the crate"
    return sorted(found.items())


def main():
    path = ROOT / "THIRD_PARTY.md"
    before, rest = path.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    rows = "".join(f"| {name} | {version} | {licence.replace('/', ' OR ')} |\n"
                   for (name, version), licence in crates())
    table = f"\n| crate | version | licence |\n|---|---|---|\n{rows}"
    path.write_text(f"{before}{BEGIN}{table}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
