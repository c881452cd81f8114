"""Hundreds of durable processes on a few workers, which are killed at random meanwhile.

What must hold afterwards, whatever the kills met: each process ended once and came to what it should;
what was recorded was not done again; each wake, event and signal is there once; no lease outlives its
owner; the store finds nothing wrong with itself. `swarm_verdict` says how that is seen.

The seed is printed, and `python tests/durability/swarm.py FOLDER --seed N …` tries it once more. The
long version runs when LASH_LONG is set, LASH_SEED choosing its seed.
"""

import os
from pathlib import Path

import pytest
from crash_matrix import LONG
from random_kills import heard

SWARM = Path(__file__).with_name("swarm.py")
SEED = int(os.environ.get("LASH_SEED", "1"))


def test_processes_whose_workers_are_killed_at_random_end_once_and_rightly(tmp_path: Path) -> None:
    found = heard(SWARM, tmp_path, 7, seconds=10, processes=500)
    # It is about kills that met something: some processes were taken over, some steps begun again.
    assert found["kills"] >= 3
    assert found["taken_over"] >= 5
    assert found["begun_again"] >= 1
    assert found["ended"] >= 500


@pytest.mark.slow
@pytest.mark.timeout(360)
@pytest.mark.skipif(not LONG, reason="takes two minutes; set LASH_LONG to run it")
def test_processes_whose_workers_are_killed_for_long_end_once_and_rightly(tmp_path: Path) -> None:
    found = heard(SWARM, tmp_path, SEED, seconds=120, processes=5000)
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
    found = heard(SWARM, tmp_path, SEED, "--stalls", seconds=60, processes=1500, every=0.8)
    assert found["kills"] >= 10
    assert found["stalls"] >= 10
    assert found["taken_over"] >= 50
