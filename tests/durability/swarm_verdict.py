"""Whether a database and a ledger that a swarm of processes left agree with what was promised them."""

import asyncio
import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from process_ledger import Ledger
from swarm_worker import SESSIONS, Job, Swarm, agents

import lash

ENDS = ("process.completed", "process.failed", "process.cancelled", "process.abandoned")
WOKEN = re.compile(r"<(p\d+\.\d+)>")


@dataclass(frozen=True, slots=True)
class Died:
    """The operating-system processes that were killed, and those that were stopped for a while."""

    killed: set[int]
    stalled: set[int]


@dataclass(frozen=True, slots=True)
class Begun:
    """A step that really began."""

    process: str
    step: str
    nonce: str
    pid: int


class Books:
    """What the database says, read without the code that is judged, and what the ledger says."""

    def __init__(self, folder: Path) -> None:
        self.lines = Ledger(folder / "ledger").lines()
        self.begun: dict[tuple[str, str], list[Begun]] = {}
        for line in self.lines:
            if line[0] == "begin":
                each = Begun(line[1], line[2], line[3], int(line[4]))
                self.begun.setdefault((each.process, each.step), []).append(each)
        with closing(sqlite3.connect(folder / "agents.db")) as database:
            self._read(database)

    def _read(self, database: sqlite3.Connection) -> None:
        self.status: dict[str, str] = dict(
            database.execute("SELECT process_id, status FROM processes")
        )
        self.events: dict[str, list[tuple[str, Any]]] = {}
        for process, kind, payload in database.execute(
            "SELECT process_id, event_type, payload FROM process_events ORDER BY 1, sequence"
        ):
            self.events.setdefault(process, []).append((kind, json.loads(payload)))
        self.recorded: dict[tuple[str, str], list[Any]] = {}
        for scope, key, outcome in database.execute(
            "SELECT s.scope_key, j.replay_key, j.outcome FROM journal j JOIN scopes s ON s.id = j.scope "
            "WHERE j.kind = 'durable_step' ORDER BY j.id"
        ):
            process = json.loads(scope)["execution_id"].split("#")[0]
            found = re.search(r"step:(\w+):\d+:attempt:\d+$", key)
            if found:
                value = json.loads(outcome)["value"]
                self.recorded.setdefault((process, found[1]), []).append(value)
        self.wakes = database.execute(
            "SELECT process_id, sequence, state FROM process_wakes"
        ).fetchall()
        self.told = Counter(
            key
            for (message,) in database.execute("SELECT message FROM nodes WHERE kind = 'message'")
            for key in WOKEN.findall(message)
        )
        self.tombstones = database.execute("SELECT count(*) FROM process_tombstones").fetchone()[0]
        self.held = [
            name
            for (name,) in database.execute(
                "SELECT process_id FROM processes WHERE owner_id IS NOT NULL "
                "UNION ALL SELECT session_id FROM leases WHERE owner_id IS NOT NULL"
            )
        ]
        self.unsettled = database.execute(
            "SELECT session_id, source_key FROM queue WHERE state NOT IN ('completed', 'cancelled')"
        ).fetchall()

    def outcome(self, process: str) -> Any:
        """How a process ended, as the event says that ended it."""
        ends = [payload for kind, payload in self.events.get(process, ()) if kind in ENDS]
        return ends[0]["await_output"] if len(ends) == 1 else None

    def signals(self, process: str) -> Sequence[int]:
        """The payloads of the signals in a process's log, in order."""
        return [payload for kind, payload in self.events[process] if kind == "signal.go"]


def verdict(folder: Path, jobs: Sequence[Job], died: Died) -> tuple[Sequence[str], dict[str, int]]:
    """What is wrong, in words; and how much there was of what."""
    wrong = asyncio.run(_through_the_face(folder))
    books = Books(folder)
    wrong += [f"a lease on {name} outlived its owner" for name in books.held]
    wrong += [f"input {row} was never settled" for row in books.unsettled]
    if books.tombstones:
        wrong.append(f"there are {books.tombstones} tombstones, and nothing was pruned")
    for job in jobs:
        wrong += _ended(books, job)
    wrong += _steps(books, died)
    wrong += _wakes(books, jobs)
    return wrong, _counts(books)


async def _through_the_face(folder: Path) -> list[str]:
    """A fresh worker finds nothing left to do, and nothing that does not fit together."""
    wrong: list[str] = []
    functions = Swarm(Ledger(folder / "ledger")).functions()
    async with lash.Runtime(folder / "agents.db", agents=agents(), processes=functions) as runtime:
        await runtime.idle(timeout=60)
        live = await runtime.processes.list(status="live", limit=10_000)
        wrong += [f"process {each.process_id} has not ended: {each.state}" for each in live]
        wrong += [f"check: {finding.message}" for finding in await runtime.check()]
        for summary in await runtime.sessions():
            if summary.state != "idle":
                wrong.append(f"session {summary.session_id} is {summary.state}")
    return wrong


# --- how each ended -------------------------------------------------------------------------------------------


def _ended(books: Books, job: Job) -> Iterator[str]:
    """Each process ended once, as its shape says, and its children too."""
    kids = [f"{job.id}/kid:{number + 1}" for number in range(job.size)] if _has_kids(job) else []
    for name in [job.id, *kids]:
        ends = [kind for kind, _ in books.events.get(name, ()) if kind in ENDS]
        if len(ends) != 1:
            yield f"{name} ({job.shape}) ended {len(ends)} times: {ends}"
            return
    outcome = books.outcome(job.id)
    expected = _expected(books, job)
    if outcome not in expected:
        yield f"{job.id} ({job.shape}, {job.size}) came to {outcome}, not to {expected}"


def _has_kids(job: Job) -> bool:
    return job.shape == "family"


def _expected(books: Books, job: Job) -> Sequence[dict[str, Any]]:
    """What a process may come to, given what its steps returned that were recorded."""
    match job.shape:
        case "fails":
            return [
                {
                    "type": "failure",
                    "failure_class": "execution",
                    "code": "process_failed",
                    "message": f"ValueError: {job.id}",
                }
            ]
        case "stops":
            return [{"type": "cancelled", "message": "enough"}]
        case _:
            return [{"type": "success", "value": value} for value in _values(books, job)]


def _values(books: Books, job: Job) -> Sequence[Any]:
    """What a process may return."""

    def step(name: str, process: str = job.id) -> Any:
        return (books.recorded.get((process, name)) or [None])[0]

    numbers = range(job.size)
    sent = [100 * job.number + number for number in range(job.signals)]
    match job.shape:
        case "steps":
            return [[step(f"a{number}") for number in range(job.size + 1)]]
        case "sleeps":
            return [[step("a0"), *[step(f"b{number}") for number in numbers]]]
        case "signals" | "segments":
            # They were sent one behind the other, so they are taken in this order.
            return [[each for n in numbers for each in (sent[n], step(f"a{n}"))]]
        case "deadline":
            heard = [[sent[0], step("heard")]] if sent else []
            return [*heard, ["late", step("late")]]
        case "family":
            kids = [[n, step("a0", f"{job.id}/kid:{n + 1}")] for n in numbers]
            return [[step("a0"), *kids]]
        case "branches":
            return [[[step(f"{name}{n}") for n in numbers] for name in "ab"]]
        case _:
            return [[step(f"a{number}") for number in numbers]]


# --- steps ----------------------------------------------------------------------------------------------------


def _steps(books: Books, died: Died) -> Iterator[str]:
    """What was recorded was begun for the last time before; what began more often was met by a kill."""
    for key, values in books.recorded.items():
        if len(values) != 1:
            yield f"step {key} is recorded {len(values)} times"
    for key, begun in books.begun.items():
        nonces = [each.nonce for each in begun]
        if len({each.pid for each in begun}) != len(begun) and not died.stalled:
            yield f"step {key} began more than once in one worker: {begun}"
        kept = books.recorded.get(key, [None])[0]
        if kept not in nonces:
            yield f"step {key} began as {nonces}, and is recorded as {kept}"
            continue
        yield from _around(begun, nonces.index(kept), died)


def _around(begun: Sequence[Begun], kept: int, died: Died) -> Iterator[str]:
    """Whoever began a step before it was recorded died of it, or was stopped; nobody did afterwards."""
    for each in begun[:kept]:
        if each.pid not in died.killed | died.stalled:
            yield f"{each} was begun by who was not killed, and again"
    for each in begun[kept + 1 :]:
        if each.pid not in died.stalled:
            yield f"{each} was begun although it was recorded as {begun[kept].nonce}"


# --- signals, events and wakes ------------------------------------------------------------------------------------


def _wakes(books: Books, jobs: Sequence[Job]) -> Iterator[str]:
    """Every wake arrived once; every event and signal is in its log once."""
    expected: Counter[str] = Counter()
    for job in jobs:
        events = Counter(kind for kind, _ in books.events.get(job.id, ()))
        if job.shape == "wakes":
            expected.update(f"{job.id}.{number}" for number in range(job.size))
            if events["process.wake"] != job.size:
                yield f"{job.id} has {events['process.wake']} wakes in its log, not {job.size}"
        if job.shape == "emits" and events["progress"] != job.size:
            yield f"{job.id} has {events['progress']} events in its log, not {job.size}"
        if job.shape == "stops" and events["process.cancel_requested"] != 1:
            yield f"{job.id} was asked to stop {events['process.cancel_requested']} times"
        sent = [100 * job.number + number for number in range(job.signals)]
        logged = books.signals(job.id) if job.id in books.events else []
        # One whose deadline was over when it was sent was refused.
        if logged != sent and not (job.shape == "deadline" and not logged):
            yield f"{job.id} was sent {sent}, and its log has {logged}"
    if books.told != expected:
        yield f"told too often: {books.told - expected}; not told: {expected - books.told}"
    for process, sequence, state in books.wakes:
        if state != "delivered":
            yield f"wake {sequence} of {process} is {state}"


def _counts(books: Books) -> dict[str, int]:
    begun = sum(map(len, books.begun.values()))
    attempts = [
        sum(kind == "process.started" for kind, _ in events) for events in books.events.values()
    ]
    return {
        "processes": len(books.status),
        "ended": sum(status not in {"running", "waiting"} for status in books.status.values()),
        "steps": len(books.begun),
        "begun_again": begun - len(books.begun),
        "taken_over": sum(attempts) - len(attempts),
        "signals": sum(
            kind == "signal.go" for events in books.events.values() for kind, _ in events
        ),
        "wakes": len(books.wakes),
        "sessions": len(SESSIONS),
    }
