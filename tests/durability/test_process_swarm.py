"""Hundreds of durable processes on a few workers, which are killed at random meanwhile.

What must hold afterwards, whatever the kills met: each process ended once and came to what it should;
what was recorded was not done again; each wake, event and signal is there once; no lease outlives its
owner; the store finds nothing wrong with itself. `swarm_verdict` says how that is seen.

The seed is printed, and `python tests/durability/swarm.py FOLDER --seed N …` tries it once more. The
long version runs when LASH_LONG is set, LASH_SEED choosing its seed.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from crash_scene import LONG

SWARM = Path(__file__).with_name("swarm.py")
SEED = int(os.environ.get("LASH_SEED", "1"))


def swarm(folder: Path, seed: int, *flags: str, **options: float) -> dict[str, Any]:
    """Let a swarm live and die, and hear what came of it."""
    command = [sys.executable, str(SWARM), str(folder), "--seed", str(seed), *flags]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=340, check=False)
    again = " ".join(command[1:])
    assert process.stdout, f"{process.stderr}\nTry again with: {again}"
    found: dict[str, Any] = json.loads(process.stdout)
    wrong = "\n".join(found["wrong"])
    assert not wrong, f"{wrong}\nOf {found['kills']} kills. Try again with: {again}"
    return found


def test_processes_whose_workers_are_killed_at_random_end_once_and_rightly(tmp_path: Path) -> None:
    found = swarm(tmp_path, 7, seconds=10, processes=500)
    # It is about kills that met something: some processes were taken over, some steps begun again.
    assert found["kills"] >= 3
    assert found["taken_over"] >= 5
    assert found["begun_again"] >= 1
    assert found["ended"] >= 500


@pytest.mark.slow
@pytest.mark.timeout(360)
@pytest.mark.skipif(not LONG, reason="takes two minutes; set LASH_LONG to run it")
def test_processes_whose_workers_are_killed_for_long_end_once_and_rightly(tmp_path: Path) -> None:
    found = swarm(tmp_path, SEED, seconds=120, processes=5000)
    assert found["kills"] >= 50
    assert found["taken_over"] >= 100
    assert found["begun_again"] >= 20
    assert found["ended"] >= 5000


@pytest.mark.slow
@pytest.mark.timeout(360)
@pytest.mark.skipif(not LONG, reason="takes a minute; set LASH_LONG to run it")
def test_processes_whose_workers_are_stopped_and_killed_end_once_and_rightly(
    tmp_path: Path,
) -> None:
    found = swarm(tmp_path, SEED, "--stalls", seconds=60, processes=1500, every=0.8)
    assert found["kills"] >= 10
    assert found["stalls"] >= 10
    assert found["taken_over"] >= 50
