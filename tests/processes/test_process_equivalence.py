"""Whatever is done to processes in whatever order, SQLite and memory give the same answers.

Few names, so that they meet. Both stores must say the same at each step, hold the same now and then,
and find nothing wrong with themselves at the end.
"""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from process_writes import FORGED, bound, claims, writes

from lash.core.leases import Fence, LeaseOwner
from lash.core.scopes import ProcessScope
from lash.effects.journal import ProcessAuthority, RetireProcess
from lash.processes.listing import ProcessFilter, PruneRequest, StatusFilter
from lash.processes.model import RecoveryDisposition
from lash.processes.registration import Registered, RegisterRequest
from lash.processes.writes import (
    ClaimRun,
    CompleteByAuthority,
    CompleteRun,
    ContinueRun,
    ProcessWrite,
    RetargetWakes,
    Written,
)
from lash.runtime.stores import Store
from lash.sessions.checking import Finding
from lash.stores.memory import MemoryStore
from lash.stores.sqlite import SqliteStore
from lash.testing.clock import VirtualClock
from lash.testing.conformance.processes.registry import BANK, of_session
from lash.testing.conformance.processes.samples import (
    DAY_MS,
    DONE,
    ENV,
    Changes,
    refund,
    ring,
    scope,
)
from lash.testing.conformance.samples import ANA, BEN, claim, record, request, wait_row

pytestmark = pytest.mark.slow

T = TypeVar("T")

#: What is done, and with what: a method of `Pair` and its arguments.
Step: TypeAlias = tuple[str, Mapping[str, Any]]

NAMES = ["p", "q", "r"]
SESSIONS = ["s", "z"]
DISPOSITIONS: list[RecoveryDisposition] = [
    "rerunnable",
    "rerunnable",
    "owner_bound",
    "externally_owned",
]
VARIANTS: list[Changes] = [
    {},
    {"wake_session_id": "s"},
    {"wake_session_id": "z", "max_attempts": 2},
    {"provenance": of_session("s", "p"), "open_signals": True},
]
STATUSES: list[StatusFilter] = ["any", "live", "retired", "running", "waiting", "completed"]
names = st.sampled_from(NAMES)
sessions = st.sampled_from(SESSIONS)
back = st.integers(0, 3)


class Pair:
    """A memory store and a SQLite store that are asked the same, and must answer the same."""

    def __init__(self, directory: str) -> None:
        self.runner = asyncio.Runner()
        self.clock = VirtualClock()
        self.path = Path(directory) / "agents.db"
        self.memory: Store = MemoryStore(self.clock)
        self.sqlite: Store = SqliteStore(self.path, self.clock)
        #: Every fence that was ever given, by process; most are stale soon.
        self.fences: dict[str, list[Fence]] = {name: [FORGED] for name in NAMES}
        self.segments = dict.fromkeys(NAMES, 0)

    def close(self) -> None:
        self.runner.run(self.sqlite.aclose())
        self.runner.close()

    def both(self, operation: Callable[[Store], Awaitable[T]]) -> T:
        async def ask() -> tuple[T, T]:
            return await operation(self.memory), await operation(self.sqlite)

        expected, answer = self.runner.run(ask())
        assert answer == expected
        return expected

    def play(self, steps: Sequence[Step]) -> None:
        for number, (verb, given_to_it) in enumerate(steps):
            getattr(self, verb)(**given_to_it)
            if number % 8 == 7:
                self.compare()
        self.reopen()
        self.compare()
        assert self.both(self.findings) == []

    async def findings(self, store: Store) -> list[Finding]:
        return [each for each in await store.check() if each.severity == "error"]

    def fence(self, name: str, ago: int) -> Fence:
        given_before = self.fences[name]
        return given_before[-1 - ago % len(given_before)]

    # --- what is done ---------------------------------------------------------------------------

    def pass_time(self, milliseconds: int) -> None:
        self.clock.advance(milliseconds / 1000)

    def reopen(self) -> None:
        self.runner.run(self.sqlite.aclose())
        self.sqlite = SqliteStore(self.path, self.clock, create=False)

    def register(
        self,
        name: str,
        disposition: RecoveryDisposition = "rerunnable",
        variant: Changes | None = None,
        observers: Sequence[str] = ("s", "z"),
        owner: LeaseOwner | None = None,
    ) -> None:
        asked = RegisterRequest(
            registration=refund(name, disposition, **(variant or {})),
            observers=tuple(observers),
            env=None if disposition == "externally_owned" else ENV,
            claim=claim(owner) if owner else None,
        )
        answer = self.both(lambda store: store.register_process(asked))
        if isinstance(answer, Registered) and answer.lease is not None:
            self.fences[name].append(answer.lease.fence)

    def write(self, name: str, write: ProcessWrite) -> None:
        asked = bound(write, self.fences[name], self.segments[name])
        if isinstance(asked, CompleteRun | ContinueRun):
            asked = msgspec.structs.replace(asked, scope_key=scope(name))
        answer = self.both(lambda store: store.write_process(name, asked))
        if isinstance(answer, Written):
            self.segments[name] = answer.record.state.segment.ordinal
            if answer.lease is not None:
                self.fences[name].append(answer.lease.fence)

    def renew(self, ago: int, ttl_ms: int) -> None:
        held = [ProcessAuthority(process_id=name, fence=self.fence(name, ago)) for name in NAMES]

        async def ask(store: Store) -> list[str]:
            return list(await store.renew_processes(held, ttl_ms))

        self.both(ask)

    def transfer(self, one: str, other: str, moved: Sequence[str]) -> None:
        async def ask(store: Store) -> list[str]:
            return sorted(await store.transfer_observers(one, other, moved, "ana"))

        self.both(ask)

    def deliver(self, limit: int) -> None:
        self.both(lambda store: store.deliver_wakes(limit))

    def redrive(self, name: str, sequence: int) -> None:
        self.both(lambda store: store.redrive_wake(name, sequence))

    def prune(self, ago_ms: int, status: StatusFilter, through: int | None, limit: int) -> None:
        asked = PruneRequest(
            before_ms=self.clock.now_ms() - ago_ms,
            filter=ProcessFilter(status=status),
            through=through,
            limit=limit,
        )
        self.both(lambda store: store.prune_processes(asked))

    def record(self, name: str, segment: int, ago: int | None, key: str) -> None:
        fence = FORGED if ago is None else self.fence(name, ago)
        proof = None if ago is None else ProcessAuthority(process_id=name, fence=fence)
        self.both(lambda store: store.record(scope(name, segment), [record(key)], proof))

    def wait_for(self, name: str, segment: int) -> None:
        owner = ProcessScope(process_id=f"{name}#1" if segment else name)
        self.both(lambda store: store.open_wait(wait_row(store, scope=owner)))

    def retire(self, name: str, limit: int) -> None:
        self.both(lambda store: store.retire(RetireProcess(process_id=name), limit=limit))

    def begin(self, session: str) -> None:
        self.both(lambda store: store.accept_turn(request("t1", session=session)))

    def delete(self, session: str, owner: LeaseOwner) -> None:
        self.both(lambda store: store.delete_session(session, claim(owner)))

    # --- what is held ---------------------------------------------------------------------------

    def compare(self) -> None:
        for name in NAMES:
            self.both(partial(self.process, name=name))
        self.both(self.lists)

    async def process(self, store: Store, name: str) -> list[object]:
        owners = [ProcessScope(process_id=each) for each in (name, f"{name}#1")]
        rows = [wait_row(store, scope=owner) for owner in owners]
        states = await store.inspect_waits(rows)
        return [
            await store.load_process(name),
            list(await store.process_events(name)),
            list(await store.process_events(name, after=2, event_type="ring", limit=2)),
            list(await store.recent_events(name, 3)),
            await store.count_events(name, "ring", 5),
            list(await store.observers_of(name)),
            list(await store.list_wakes(name)),
            list(await store.list_wakes(name, "pending")),
            [list(await store.load_journal(scope(name, segment))) for segment in (0, 1, 2)],
            [states[row.key_id] for row in rows],
        ]

    async def lists(self, store: Store) -> list[object]:
        feed = await store.processes_changed_since(0)
        return [
            *[list(await store.list_processes(ProcessFilter(status=each))) for each in STATUSES],
            list(await store.list_processes(ProcessFilter(observed_by="s"), after="p", limit=1)),
            list(await store.list_processes(ProcessFilter(originator="session:s", parent_id="p"))),
            list(await store.list_processes(ProcessFilter(parked=True))),
            list(await store.runnable_processes()),
            list(await store.runnable_processes(after="p", through="q", limit=1)),
            await store.last_runnable(),
            await store.next_runnable_at(),
            list(feed.changes),
            feed.cursor,
            await store.change_cursor(),
            await store.processes_changed_since(3, 2),
            [list(await store.list_queue(session)) for session in SESSIONS],
            sorted(map(repr, await store.live_references())),
            await store.count_live(),
        ]


def verb(name: str, /, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    """One thing that may be done."""
    return st.tuples(st.just(name), st.fixed_dictionaries(arguments))


PASS_TIME = verb("pass_time", milliseconds=st.sampled_from([1, 1, 50, 4000, 30_000, 8 * DAY_MS]))
REOPEN = verb("reopen")
PRUNE = verb(
    "prune",
    ago_ms=st.sampled_from([0, 0, 40_000]),
    status=st.sampled_from(STATUSES),
    through=st.none() | st.integers(0, 30),
    limit=st.sampled_from([0, 1, 500]),
)
WRITE = verb("write", name=names, write=writes())
BEGIN_AGAIN = verb(
    "write", name=names, write=st.builds(ClaimRun, claim=claims(), parked_too=st.booleans())
)
RUNS = [
    *[WRITE] * 9,
    BEGIN_AGAIN,
    PASS_TIME,
    REOPEN,
    PRUNE,
    verb(
        "register",
        name=names,
        disposition=st.sampled_from(DISPOSITIONS),
        variant=st.sampled_from(VARIANTS),
        observers=st.lists(sessions, max_size=2),
        owner=st.sampled_from([None, ANA, BEN]),
    ),
    verb("renew", ago=back, ttl_ms=st.sampled_from([3000, 30_000])),
    verb("transfer", one=sessions, other=sessions, moved=st.lists(names, max_size=3)),
    verb(
        "record",
        name=names,
        segment=st.integers(0, 2),
        ago=st.none() | back,
        key=st.sampled_from(["r1", "r2", "r3"]),
    ),
    verb("wait_for", name=names, segment=st.integers(0, 1)),
    verb("retire", name=names, limit=st.sampled_from([1, 500])),
]
RING = verb(
    "write",
    name=names,
    write=st.builds(ring, st.sampled_from(["one", "two"]), st.sampled_from([None, None, "k1"])),
)
RETARGET = verb(
    "write",
    name=names,
    write=st.builds(RetargetWakes, session_id=st.sampled_from([None, "s", "z"])),
)
WAKES = [
    *[RING] * 12,
    *[verb("deliver", limit=st.sampled_from([0, 1, 1, 2, 32]))] * 8,
    *[PASS_TIME] * 2,
    *[RETARGET] * 2,
    *[verb("redrive", name=names, sequence=st.integers(1, 6))] * 2,
    REOPEN,
    PRUNE,
    verb("begin", session=sessions),
    verb("write", name=names, write=st.just(CompleteByAuthority(outcome=DONE, authority=BANK))),
    verb("delete", session=st.sampled_from(["z", "s"]), owner=st.sampled_from([ANA, BEN])),
]
_SETTINGS = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@_SETTINGS
@given(st.lists(st.one_of(RUNS), min_size=40, max_size=60))
def test_whatever_is_done_to_processes_both_stores_do_the_same(steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        pair = Pair(directory)
        try:
            for name in ("p", "q"):
                pair.register(name, variant={"wake_session_id": "s"}, owner=ANA)
            pair.play(steps)
        finally:
            pair.close()


@_SETTINGS
@given(st.lists(st.one_of(WAKES), min_size=40, max_size=60))
def test_whatever_becomes_of_sessions_both_stores_wake_the_same(steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        pair = Pair(directory)
        try:
            for name, session in (("p", "s"), ("q", "z"), ("r", "z")):
                pair.register(name, "externally_owned", {"wake_session_id": session})
            pair.begin("s")
            pair.play(steps)
        finally:
            pair.close()
