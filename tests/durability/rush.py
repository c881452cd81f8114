"""Thousands of events over many subscriptions, emitted by processes that are killed at random. A script.

    rush.py FOLDER [--seed N] [--seconds S] [--events N] [--subscriptions N] [--workers N] [--every S]

Each worker emits its part of the events, and begins where the one before it in its place was killed: what
was acknowledged is not emitted again, what was not is emitted under the same key. Prints what there was of
what, and what is wrong, as JSON; ends with 1 if anything is.
"""

import asyncio
import os
import sqlite3
import sys
from collections import Counter
from collections.abc import Coroutine, Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

from random_kills import Places, Verdict, asked, run

import lash
from lash.core.leases import LeaseTimings

#: How many events differ: a subscription hears of one of them.
NAMES = [f"event-{number}" for number in range(50)]
EVENTS = [lash.TriggerEvent(name) for name in NAMES]


@lash.process
async def count(ctx: lash.ProcessContext, number: int, subscription: str) -> str:
    return f"{number} {subscription}"


def planned(seed: int, events: int) -> Sequence[str]:
    """Which event each occurrence is of."""
    random = Random(f"rush {seed}")  # noqa: S311  chance that can be had again
    return [random.choice(NAMES) for _ in range(events)]


def name_of(subscription: int) -> str:
    return NAMES[subscription % len(NAMES)]


async def live(
    folder: Path, plan: Sequence[str], places: int, place: int, lease: LeaseTimings, *, subs: int
) -> None:
    log = folder / f"done-{place}"
    done = set(log.read_text().split()) if log.exists() else set()
    ledger = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    async with lash.Runtime(
        folder / "agents.db", processes=[count], triggers=EVENTS, lease=lease
    ) as runtime:
        for number in range(subs):
            key = f"s{number:03}"
            given = {"number": lash.from_event("number"), "subscription": key}
            await runtime.triggers.subscribe(name_of(number), count, key=key, input=given)
        mine = [n for n in range(len(plan)) if n % places == place and str(n) not in done]
        for start in range(0, len(mine), 16):

            async def emit(number: int) -> None:
                await runtime.triggers.emit(plan[number], {"number": number}, key=f"o{number}")
                os.write(ledger, f"{number}\n".encode())

            await asyncio.gather(*(emit(number) for number in mine[start : start + 16]))
        await runtime.idle(timeout=100)


def judge(folder: Path, plan: Sequence[str], subs: int, places: Places) -> Verdict:
    """What is there, against what there must be: a process for each event and each who hears it."""
    with closing(sqlite3.connect(folder / "agents.db")) as connection:

        def column(query: str) -> list[Any]:
            return [value for (value,) in connection.execute(query)]

        results = Counter(column("SELECT json_extract(state, '$.outcome.value') FROM processes"))
        statuses = set(column("SELECT DISTINCT status FROM processes"))
        states = Counter(column("SELECT state FROM trigger_deliveries"))
        unlinked = column(
            "SELECT count(*) FROM trigger_deliveries d WHERE NOT EXISTS "
            "(SELECT 1 FROM processes p WHERE p.process_id = d.delivery_id)"
        )
        keys = column("SELECT occurrence_key FROM trigger_occurrences")
    wanted = Counter(
        f"{number} s{subscription:03}"
        for number, name in enumerate(plan)
        for subscription in range(subs)
        if name_of(subscription) == name
    )
    wrong: list[str] = []
    if results != wanted:
        missing, twice = wanted - results, results - wanted
        wrong.append(f"missing {list(missing)[:5]}, too many {list(twice)[:5]}")
    if statuses != {"completed"}:
        wrong.append(f"processes are {statuses}")
    if set(states) != {"started"} or sum(states.values()) != len(list(wanted.elements())):
        wrong.append(f"deliveries are {states}")
    if unlinked != [0]:
        wrong.append(f"{unlinked} deliveries have no process")
    if sorted(keys) != sorted(f"o{number}" for number in range(len(plan))):
        wrong.append(f"{len(keys)} occurrences")
    return wrong, {"events": len(plan), "processes": sum(results.values())}


def main() -> int:
    given = asked(events=400, subscriptions=100, workers=2)
    plan, folder = planned(given.seed, given.events), given.folder

    def live_in(place: int, started: float, lease: LeaseTimings) -> Coroutine[Any, Any, None]:
        del started
        return live(folder, plan, given.workers, place, lease, subs=given.subscriptions)

    return run(given, live_in, lambda places: judge(folder, plan, given.subscriptions, places))


if __name__ == "__main__":
    sys.exit(main())
