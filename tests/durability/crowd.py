"""A crowd of processes over one database, killed at random for a while. Run as a script.

    crowd.py FOLDER [--seed N] [--seconds S] [--sessions N] [--turns N] [--workers N] [--every S] [--stalls]

Prints what there was of what, and what is wrong, as JSON; ends with 1 if anything is. The seed decides
what is done and whom to kill when. What the kills meet is decided by the machine, so a seed that found
something may have to be tried more than once.

With `--stalls`, half of those that are chosen are not killed but stopped (SIGSTOP) for longer than their
leases last, and go on then, as what a suspended machine or a full swap does to a process. Leases are
short then.
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

from crowd_verdict import verdict
from crowd_worker import Work, live, planned

from lash.core.leases import LeaseTimings

#: Seconds that a process which is stopped stays so, and how long leases last then.
STALL = 2.5
STALLING = LeaseTimings(ttl_ms=1500, renew_ms=500)

#: Seconds that those who are left have to come to rest, once nobody is killed any more.
REST = 110.0


class Crowd:
    """The processes, one in each place."""

    def __init__(self, folder: Path, work: Sequence[Work], places: int, *, stalls: bool) -> None:
        self._folder = folder
        self._stalls = stalls
        self._stalled: dict[int, float] = {}
        self._work = [[each for each in work if each.place == place] for place in range(places)]
        self._started = time.time()
        self._alive: dict[int, int] = {}
        self.kills = self.stalls = 0
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
            asyncio.run(live(self._folder, self._work[place], self._started, lease))
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
            self.stalls += 1
            return
        self._stalled.pop(pid, None)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        self.kills += 1
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
                    self.failed.append(f"the process in place {place} ended with {code}: {errors}")
        return bool(self._alive)

    def end(self) -> None:
        """Leave nobody behind."""
        for pid in self._alive:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def live_and_die(crowd: Crowd, random: Random, seconds: float, every: float) -> None:
    """Kill at random times for a while, then let the others come to rest."""
    until = time.monotonic() + seconds
    while (now := time.monotonic()) < until and not crowd.failed:
        time.sleep(min(random.expovariate(1 / every), until - now))
        crowd.kill(random)
    until = time.monotonic() + REST
    while crowd.reap() and not crowd.failed:
        if time.monotonic() > until:
            crowd.failed.append(f"after {REST:.0f} s without a kill there was still work")
            break
        time.sleep(0.02)
    crowd.end()


def judged(
    folder: Path, work: Sequence[Work], stalls: bool
) -> tuple[Sequence[str], dict[str, int]]:
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
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--turns", type=int, default=150)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--stalls", action="store_true")
    parser.add_argument("--every", type=float, default=0.4, help="seconds between kills")
    given = parser.parse_args()
    work = planned(
        given.seed,
        sessions=given.sessions,
        turns=given.turns,
        seconds=given.seconds * 0.9,
        places=given.workers,
    )
    began = time.monotonic()
    crowd = Crowd(given.folder, work, given.workers, stalls=given.stalls)
    random = Random(f"kills {given.seed}")  # noqa: S311  chance that can be had again
    live_and_die(crowd, random, given.seconds, given.every)
    lived = time.monotonic() - began
    wrong, counts = ((), {}) if crowd.failed else judged(given.folder, work, given.stalls)
    found = {
        "seed": given.seed,
        "kills": crowd.kills,
        "stalls": crowd.stalls,
        "inputs": sum(each.is_input for each in work),
        **counts,
        "seconds": round(lived, 1),
        "wrong": [*crowd.failed, *wrong],
    }
    print(json.dumps(found))
    return bool(found["wrong"])


if __name__ == "__main__":
    sys.exit(main())
