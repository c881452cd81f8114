"""A swarm of durable processes on a few workers, which are killed at random for a while. Run as a script.

    swarm.py FOLDER [--seed N] [--seconds S] [--processes N] [--workers N] [--every S] [--stalls]

Prints what there was of what, and what is wrong, as JSON; ends with 1 if anything is. The seed decides
what is done and whom to kill when; what the kills meet is decided by the machine. `random_kills` says
what `--stalls` does.
"""

import sys
from collections.abc import Coroutine
from typing import Any

from random_kills import Places, Verdict, asked, run
from swarm_verdict import Died, verdict
from swarm_worker import live, planned

from lash.core.leases import LeaseTimings


def main() -> int:
    given = asked(processes=500, workers=3)
    jobs = planned(
        given.seed,
        processes=given.processes,
        seconds=given.seconds * 0.8,
        places=given.workers,
    )

    def live_in(place: int, started: float, lease: LeaseTimings) -> Coroutine[Any, Any, None]:
        return live(given.folder, [job for job in jobs if job.place == place], started, lease)

    def judge(places: Places) -> Verdict:
        died = Died(killed=set(places.killed), stalled=set(places.stalled))
        wrong, counts = verdict(given.folder, jobs, died)
        # Here it counts how many were killed or stopped, not how often.
        return wrong, {"kills": len(died.killed), "stalls": len(died.stalled), **counts}

    return run(given, live_in, judge)


if __name__ == "__main__":
    sys.exit(main())
