"""Several processes drive the same sessions and bring them work, and are killed at random meanwhile.

What must hold afterwards, whatever the kills met: every accepted input is in exactly one committed
turn, or was taken back and is in none; histories are well-formed; no lease outlives its owner; what was
recorded was not done again; whoever asked a turn to stop was told the truth; the store finds nothing
wrong with itself. `crowd_verdict` says how that is seen.

The seed is printed, and `python tests/durability/crowd.py FOLDER --seed N …` tries it once more. The
long version runs when LASH_LONG is set, LASH_SEED choosing its seed.
"""

import os
from pathlib import Path

import pytest
from crash_matrix import LONG
from random_kills import heard

CROWD = Path(__file__).with_name("crowd.py")


def test_processes_killed_at_random_lose_nothing_and_do_nothing_twice(tmp_path: Path) -> None:
    found = heard(CROWD, tmp_path, 7, seconds=10, sessions=20, turns=150)
    # It is about kills that met something: there were some, and some work began once more.
    assert found["kills"] >= 5
    assert found["turns"] >= 100
    assert found["stopped"] >= 1


@pytest.mark.slow
@pytest.mark.timeout(360)
@pytest.mark.skipif(not LONG, reason="takes two minutes; set LASH_LONG to run it")
def test_processes_killed_at_random_for_long_lose_nothing(tmp_path: Path) -> None:
    seed = int(os.environ.get("LASH_SEED", "1"))
    found = heard(CROWD, tmp_path, seed, seconds=120, sessions=200, turns=2000)
    assert found["kills"] >= 50
    assert found["turns"] >= 1500
    assert found["stopped"] >= 10
    assert found["begun_again"] >= 10
