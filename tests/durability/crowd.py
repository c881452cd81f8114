"""A crowd of processes over one database, killed at random for a while. Run as a script.

    crowd.py FOLDER [--seed N] [--seconds S] [--sessions N] [--turns N] [--workers N] [--every S] [--stalls]

Prints what there was of what, and what is wrong, as JSON; ends with 1 if anything is. The seed decides
what is done and whom to kill when. What the kills meet is decided by the machine, so a seed that found
something may have to be tried more than once. `random_kills` says what `--stalls` does.
"""

import json
import os
import sys
import traceback
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from crowd_verdict import verdict
from crowd_worker import Work, live, planned
from random_kills import Places, Verdict, asked, run

from lash.core.leases import LeaseTimings


def judged(folder: Path, work: Sequence[Work], stalls: bool) -> Verdict:
    """The verdict, found in a process of its own, so that this one may fork again."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        found: object = (["the verdict failed"], {})
        try:
            found = verdict(folder, work, stalls=stalls)
        except BaseException:
            found = ([traceback.format_exc()], {})
        finally:
            with os.fdopen(writing, "w") as answer:
                json.dump(found, answer)
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        wrong, counts = json.load(answer)
    os.waitpid(pid, 0)
    return wrong, counts


def main() -> int:
    given = asked(sessions=20, turns=150, workers=4)
    work = planned(
        given.seed,
        sessions=given.sessions,
        turns=given.turns,
        seconds=given.seconds * 0.9,
        places=given.workers,
    )

    def live_in(place: int, started: float, lease: LeaseTimings) -> Coroutine[Any, Any, None]:
        return live(given.folder, [each for each in work if each.place == place], started, lease)

    def judge(places: Places) -> Verdict:
        wrong, counts = judged(given.folder, work, given.stalls)
        return wrong, {"inputs": sum(each.is_input for each in work), **counts}

    return run(given, live_in, judge)


if __name__ == "__main__":
    sys.exit(main())
