"""A swarm of durable processes on a few workers, which are killed at random for a while. Run as a script.

    swarm.py FOLDER [--seed N] [--seconds S] [--processes N] [--workers N] [--every S] [--stalls]

Prints what there was of what, and what is wrong, as JSON; ends with 1 if anything is. The seed decides
what is done and whom to kill when; what the kills meet is decided by the machine.

With `--stalls`, half of those that are chosen are not killed but stopped (SIGSTOP) for longer than their
leases last, and go on then. Leases are short then.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from random import Random

from swarm_verdict import Died, verdict
from swarm_worker import Job, live, planned

from lash.core.leases import LeaseTimings

#: Seconds that a worker which is stopped stays so, and how long leases last then.
STALL = 2.5
STALLING = LeaseTimings(ttl_ms=1500, renew_ms=500)

#: Seconds that those who are left have to come to rest, once nobody is killed any more.
REST = 110.0


class Keeper:
    """The workers, one in each place."""

    def __init__(self, folder: Path, jobs: Sequence[Job], places: int, *, stalls: bool) -> None:
        self._folder = folder
        self._stalls = stalls
        self._stalled: dict[int, float] = {}
        self._jobs = [[job for job in jobs if job.place == place] for place in range(places)]
        self._started = time.time()
        self._alive: dict[int, int] = {}
        self.killed: set[int] = set()
        self.stalled: set[int] = set()
        self.failed: list[str] = []
        for place in range(places):
            self._start(place)

    def _start(self, place: int) -> None:
        pid = os.fork()
        if pid:
            self._alive[pid] = place
            return
        code = 1
        try:
            errors = self._folder / f"errors-{place}"
            os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
            lease = STALLING if self._stalls else LeaseTimings()
            asyncio.run(live(self._folder, self._jobs[place], self._started, lease))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def kill(self, random: Random) -> None:
        """Kill one of those that live, and put another in its place."""
        self.reap()
        if not self._alive:
            return
        pid = random.choice(sorted(self._alive))
        if self._stalls and random.random() < 0.5:
            self._stalled.setdefault(pid, time.monotonic() + STALL)
            os.kill(pid, signal.SIGSTOP)
            self.stalled.add(pid)
            return
        self._stalled.pop(pid, None)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        self.killed.add(pid)
        self._start(self._alive.pop(pid))

    def reap(self) -> bool:
        """Note who came to an end by itself; whether anybody is left. Those stopped go on in time."""
        for pid in [pid for pid, until in self._stalled.items() if until < time.monotonic()]:
            del self._stalled[pid]
            os.kill(pid, signal.SIGCONT)
        for pid in list(self._alive):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                place = self._alive.pop(pid)
                if status:
                    errors = (self._folder / f"errors-{place}").read_text()[-3000:]
                    code = os.waitstatus_to_exitcode(status)
                    self.failed.append(f"the worker in place {place} ended with {code}: {errors}")
        return bool(self._alive)

    def end(self) -> None:
        """Leave nobody behind."""
        for pid in self._alive:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def live_and_die(keeper: Keeper, random: Random, seconds: float, every: float) -> None:
    """Kill at random times for a while, then let the others come to rest."""
    until = time.monotonic() + seconds
    while (now := time.monotonic()) < until and not keeper.failed:
        time.sleep(min(random.expovariate(1 / every), until - now))
        keeper.kill(random)
    until = time.monotonic() + REST
    while keeper.reap() and not keeper.failed:
        if time.monotonic() > until:
            keeper.failed.append(f"after {REST:.0f} s without a kill there was still work")
            break
        time.sleep(0.02)
    keeper.end()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--processes", type=int, default=500)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--stalls", action="store_true")
    parser.add_argument("--every", type=float, default=0.4, help="seconds between kills")
    given = parser.parse_args()
    jobs = planned(
        given.seed,
        processes=given.processes,
        seconds=given.seconds * 0.8,
        places=given.workers,
    )
    began = time.monotonic()
    keeper = Keeper(given.folder, jobs, given.workers, stalls=given.stalls)
    random = Random(f"kills {given.seed}")  # noqa: S311  chance that can be had again
    live_and_die(keeper, random, given.seconds, given.every)
    lived = time.monotonic() - began
    died = Died(killed=keeper.killed, stalled=keeper.stalled)
    wrong, counts = ((), {}) if keeper.failed else verdict(given.folder, jobs, died)
    found = {
        "seed": given.seed,
        "kills": len(keeper.killed),
        "stalls": len(keeper.stalled),
        **counts,
        "seconds": round(lived, 1),
        "wrong": [*keeper.failed, *wrong],
    }
    print(json.dumps(found))
    return bool(found["wrong"])


if __name__ == "__main__":
    sys.exit(main())
