"""The memory contract on the real model: a run under --ram stays within it, under a limit of the operating
system, and the plan says within 10% beforehand what it takes."""
import json
import resource
import subprocess

import pytest
from test_training import household, write_rows

MIB = 1 << 20


@pytest.mark.parametrize("ram, flags", [(900, []), (420, []), (330, ["--batch-size", 32])])
def test_a_run_keeps_to_its_ram(moxie, smollm_gguf, tmp_path, ram, flags):
    data = write_rows(tmp_path / "data.jsonl", household(64, seed=4))
    common = ["tune", str(smollm_gguf), "--data", str(data), "--ram", f"{ram}M", "--samples", "0", *map(str, flags)]
    plan = json.loads(moxie.run(*common, "--dry-run", "--json"))
    predicted = plan["memory"]["total_bytes"] / MIB
    assert predicted <= ram

    def limit():  # what a process may write to; the weights are mapped from the file and do not count
        heap = ram * MIB - smollm_gguf.stat().st_size
        stacks = 64 * MIB  # address space that threads reserve and hardly touch
        resource.setrlimit(resource.RLIMIT_DATA, (heap + stacks, heap + stacks))

    done = subprocess.run([moxie.binary, *common, "--steps", "3", "--out", str(tmp_path / "out"), "--json"],
                          env=moxie.env, capture_output=True, preexec_fn=limit)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    measured = json.loads(done.stdout)["peak_rss_mib"]
    print(f"--ram {ram}M: predicted {predicted:.0f}, measured {measured:.0f} MiB")
    assert measured <= ram
    assert 0.9 * measured <= predicted <= 1.1 * measured
