"""Thousands of events over a hundred subscriptions, while the processes that emit them are killed at random.

What must hold afterwards: each subscription that heard an event has started exactly one process for it, and
each of them ended; each event is there once. `rush` says how that is seen. The seed is printed, and
`python tests/durability/rush.py FOLDER --seed N …` tries it once more. The long version runs when LASH_LONG
is set, LASH_SEED choosing its seed.
"""

import os
from pathlib import Path

import pytest
from crash_matrix import LONG
from random_kills import heard

RUSH = Path(__file__).with_name("rush.py")
SEED = int(os.environ.get("LASH_SEED", "1"))


def test_events_whose_emitters_are_killed_at_random_start_each_subscription_once(
    tmp_path: Path,
) -> None:
    found = heard(RUSH, tmp_path, 7, seconds=4, events=300, subscriptions=100)
    assert found["kills"] >= 1
    assert (found["events"], found["processes"]) == (300, 600)


@pytest.mark.slow
@pytest.mark.timeout(360)
@pytest.mark.skipif(not LONG, reason="takes minutes; set LASH_LONG to run it")
def test_ten_thousand_events_start_each_subscription_once(tmp_path: Path) -> None:
    found = heard(RUSH, tmp_path, SEED, seconds=60, events=10_000, subscriptions=100)
    assert found["kills"] >= 30
    assert (found["events"], found["processes"]) == (10_000, 20_000)
