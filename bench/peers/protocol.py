"""How run.py talks to a program under test: it sets up and says what it is in a line of JSON, then
answers every line "round" with a line of JSON about one round of work, and at the end of its input with
its peak memory. So a peer loads its model once, and its rounds fall between Moxie's."""
import json
import resource
import sys


def say(found: dict) -> None:
    print(json.dumps(found), file=channel, flush=True)


def serve(facts: dict, work) -> None:
    """`work(index)` does one round and returns its facts, with "tokens" and "seconds" among them. The
    first one is asked for to warm up."""
    say({"ready": True, **facts})
    for index, line in enumerate(sys.stdin):
        if line.strip() != "round":
            raise SystemExit(f"unknown request {line!r}")
        say(work(index))
    say({"peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024})


# Libraries print to standard output as they like; the answers go where they cannot follow.
channel = sys.stdout
sys.stdout = sys.stderr
