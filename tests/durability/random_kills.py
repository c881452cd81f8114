"""Many processes over one database, of which some are killed at random for a while.

A script has a process in each of several places. The one in a place goes on where the one before it was
killed; what it does there is the script's. Half of those that are chosen may be stopped (SIGSTOP) for
longer than their leases last instead of being killed, and go on then, as what a suspended machine or a
full swap does to a process; leases are short then.
"""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from forked import forked
from told_process import is_free

from lash.core.leases import LeaseTimings

#: Seconds that a process which is stopped stays so, and how long leases last then.
STALL = 2.5
STALLING = LeaseTimings(ttl_ms=1500, renew_ms=500)

#: Seconds that those who are left have to come to rest, once nobody is killed any more.
REST = 110.0

#: What the process in a place does, given the time at which all began.
Live = Callable[[int, float, LeaseTimings], Coroutine[Any, Any, None]]

#: What is wrong, in words; and how much there was of what.
Verdict = tuple[Sequence[str], Mapping[str, int]]


class Places:
    """The processes, one in each place.

    Attributes:
        killed: The ids of those that were killed, one for each kill.
        stalled: The ids of those that were stopped, one for each time.
        failed: What went wrong with those that nobody killed.
    """

    def __init__(self, folder: Path, number: int, live: Live, *, stalls: bool) -> None:
        self._folder = folder
        self._live = live
        self._stalls = stalls
        self._until: dict[int, float] = {}
        self._started = time.time()
        self._alive: dict[int, int] = {}
        self.killed: list[int] = []
        self.stalled: list[int] = []
        self.failed: list[str] = []
        for place in range(number):
            self._start(place)

    def _start(self, place: int) -> None:
        def body() -> None:
            errors = self._folder / f"errors-{place}"
            os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
            lease = STALLING if self._stalls else LeaseTimings()
            asyncio.run(self._live(place, self._started, lease))

        self._alive[forked(body)] = place

    def kill(self, random: Random) -> None:
        """Kill one of those that live, and put another in its place."""
        self.reap()
        if not self._alive:
            return
        pid = random.choice(sorted(self._alive))
        if self._stalls and random.random() < 0.5:
            self._stall(pid)
            return
        self._until.pop(pid, None)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        self.killed.append(pid)
        self._start(self._alive.pop(pid))

    def _stall(self, pid: int) -> None:
        """Stop a process for a while, outside of a transaction: a writer's lock would stop everybody."""
        if pid in self._until:
            return
        os.kill(pid, signal.SIGSTOP)
        os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        if not is_free(self._folder / "agents.db"):
            os.kill(pid, signal.SIGCONT)
            return
        self._until[pid] = time.monotonic() + STALL
        self.stalled.append(pid)

    def reap(self) -> bool:
        """Note who came to an end by itself; whether anybody is left. Those stopped go on in time."""
        for pid in [pid for pid, until in self._until.items() if until < time.monotonic()]:
            del self._until[pid]
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


def live_and_die(places: Places, random: Random, seconds: float, every: float) -> None:
    """Kill at random times for a while, then let the others come to rest."""
    until = time.monotonic() + seconds
    while (now := time.monotonic()) < until and not places.failed:
        time.sleep(min(random.expovariate(1 / every), until - now))
        places.kill(random)
    until = time.monotonic() + REST
    while places.reap() and not places.failed:
        if time.monotonic() > until:
            places.failed.append(f"after {REST:.0f} s without a kill there was still work")
            break
        time.sleep(0.02)
    places.end()


def asked(**numbers: int) -> argparse.Namespace:
    """What the command line asks for; `numbers` are the script's own options, as they are by default."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0)
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--stalls", action="store_true")
    parser.add_argument("--every", type=float, default=0.4, help="seconds between kills")
    return parser.parse_args()


def run(given: argparse.Namespace, live: Live, judge: Callable[[Places], Verdict]) -> int:
    """Let them live and die, and print what came of it; 1 if anything is wrong."""
    began = time.monotonic()
    places = Places(given.folder, given.workers, live, stalls=given.stalls)
    random = Random(f"kills {given.seed}")  # noqa: S311  chance that can be had again
    live_and_die(places, random, given.seconds, given.every)
    lived = time.monotonic() - began
    wrong, counts = ((), {}) if places.failed else judge(places)
    found = {
        "seed": given.seed,
        "kills": len(places.killed),
        "stalls": len(places.stalled),
        **counts,
        "seconds": round(lived, 1),
        "wrong": [*places.failed, *wrong],
    }
    print(json.dumps(found))
    return bool(found["wrong"])


# --- the tests' side ------------------------------------------------------------------------------------------


def heard(script: Path, folder: Path, seed: int, *flags: str, **options: float) -> dict[str, Any]:
    """Run a script, and hear what came of it."""
    command = [sys.executable, str(script), str(folder), "--seed", str(seed), *flags]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=340, check=False)
    again = " ".join(command[1:])
    assert process.stdout, f"{process.stderr}\nTry again with: {again}"
    found: dict[str, Any] = json.loads(process.stdout)
    wrong = "\n".join(found["wrong"])
    assert not wrong, f"{wrong}\nOf {found['kills']} kills. Try again with: {again}"
    return found
