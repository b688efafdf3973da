"""Drives the moxie binary as a user does: arguments in, stdout and files out."""
import json
import os
import pathlib
import subprocess
import tempfile

import numpy as np
from safetensors.numpy import load_file


class Moxie:
    def __init__(self, binary: str, home: pathlib.Path):
        self.binary = binary
        # Runs are recorded under the user's folders: the tests get folders of their own.
        self.env = {**os.environ, "NO_COLOR": "1", "XDG_CACHE_HOME": str(home / "cache"),
                    "XDG_DATA_HOME": str(home / "data"), "XDG_CONFIG_HOME": str(home / "config"),
                    "XDG_STATE_HOME": str(home / "state")}

    def run(self, *args, timeout: float = 900) -> str:
        command = [self.binary, *map(str, args)]
        done = subprocess.run(command, env=self.env, stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=timeout)
        if done.returncode != 0:
            shown = " ".join(c if len(c) < 200 else c[:200] + "..." for c in command)
            raise AssertionError(f"{shown}\nleft with {done.returncode}:\n{done.stderr.decode(errors='replace')}"
                                 f"{done.stdout.decode(errors='replace')[-2000:]}")
        return done.stdout.decode()

    def json(self, *args, **kwargs):
        """The one JSON value that stdout holds."""
        return json.loads(self.run(*args, "--json", **kwargs))

    def json_lines(self, *args, **kwargs) -> list:
        return [json.loads(line) for line in self.run(*args, "--json", **kwargs).splitlines() if line]

    def logits(self, model, ids, *more, dtype: str = "f32") -> np.ndarray:
        """[tokens, vocab] f32 of one sequence of ids."""
        with tempfile.TemporaryDirectory() as work:
            out = pathlib.Path(work) / "logits.safetensors"
            self.run("score", model, "--tokens", ",".join(map(str, ids)), "--logits", out, "--dtype", dtype, *more)
            logits = load_file(out)["logits"]
        assert logits.dtype == np.float32 and logits.shape[0] == len(ids), (logits.dtype, logits.shape)
        return logits

    def tune(self, model, data, out, *flags, timeout: float = 900) -> list[dict]:
        """Trains and returns the lines of metrics.jsonl."""
        self.run("tune", model, "--data", data, "--out", out, *flags, timeout=timeout)
        return [json.loads(line) for line in (pathlib.Path(out) / "metrics.jsonl").read_text().splitlines()]


def relative(ours, reference) -> float:
    """Norm of the difference over the norm of the reference, in double."""
    ours, reference = np.asarray(ours, np.float64), np.asarray(reference, np.float64)
    assert ours.shape == reference.shape, (ours.shape, reference.shape)
    return float(np.linalg.norm(ours - reference) / np.linalg.norm(reference))


def worst_row(ours, reference) -> float:
    return max(relative(a, b) for a, b in zip(ours, reference, strict=True))


def assert_logits(ours, reference, bound: float = 1e-4) -> None:
    """Relative error of the whole and of the worst position, and the same first choice everywhere."""
    ours, reference = np.asarray(ours), np.asarray(reference)
    whole, row = relative(ours, reference), worst_row(ours, reference)
    assert whole <= bound and row <= bound, f"relative error {whole:.2e}, at the worst position {row:.2e}"
    differ = np.flatnonzero(ours.argmax(-1) != reference.argmax(-1))
    assert not differ.size, f"argmax differs at positions {differ.tolist()}"


def assert_losses(ours: list[float], reference: list[float], bound: float = 1e-4) -> None:
    assert len(ours) == len(reference), (len(ours), len(reference))
    gaps = [abs(a - b) / abs(b) for a, b in zip(ours, reference)]
    worst = max(range(len(gaps)), key=gaps.__getitem__)
    assert gaps[worst] <= bound, (f"loss of step {worst + 1} is {ours[worst]:.7g}, the reference says "
                                  f"{reference[worst]:.7g} ({gaps[worst]:.1e} relative)")
