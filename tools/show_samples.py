#!/usr/bin/env python3
"""Prints what quickstart measured: the score before and after, and three answers of each.

    show_samples.py HELDOUT.jsonl RUN_DIR [--seconds N]

RUN_DIR holds before.json and after.json (what `moxie eval --json` printed) and before.jsonl and
after.jsonl (its --predictions, one line an example, in the order of the data).
"""
import json
import pathlib
import sys


def read_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def shorten(text, width=76):
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 3] + "..."


def main():
    heldout, run = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    questions = [record["messages"] for record in read_lines(heldout)]
    before, after = (read_lines(run / f"{name}.jsonl") for name in ("before", "after"))
    scores = [json.loads((run / f"{name}.json").read_text())["exact_match"]
              for name in ("before", "after")]
    print("\nThree of the held-out commands")
    # Evenly spread over the file, not picked for their looks.
    for i in (0, len(questions) // 3, 2 * len(questions) // 3):
        print(f"\n  said     {questions[i][-2]['content']}")
        print(f"  before   {shorten(before[i]['answer'])}")
        print(f"  after    {shorten(after[i]['answer'])}")
        print(f"  wanted   {questions[i][-1]['content']}")
    print(f"\nExact match on {len(questions)} held-out commands: "
          f"before {100 * scores[0]:.1f}%, after {100 * scores[1]:.1f}%")
    if "--seconds" in sys.argv:
        seconds = int(sys.argv[sys.argv.index("--seconds") + 1])
        print(f"All of it took {seconds // 60} min {seconds % 60} s.")


if __name__ == "__main__":
    main()
