"""Processes in both stores: a crash inside of a write leaves nothing, and damage is found."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from lash.core.leases import Fence
from lash.core.scopes import ProcessScope
from lash.core.seams import Seam
from lash.processes.listing import ProcessFilter, PruneRequest
from lash.processes.model import AbandonRequest, ExternalRef, ProcessSegment
from lash.processes.outcomes import WorkflowKey
from lash.processes.registration import Registered, RegisterRequest
from lash.processes.writes import (
    AbandonRun,
    AppendEvent,
    ChangeObservers,
    ClaimRun,
    ClearWait,
    CompleteByAuthority,
    CompleteRun,
    ContinueRun,
    MarkWait,
    ParkRun,
    ProcessWrite,
    ReleaseRun,
    RequestAbandon,
    RetargetWakes,
    SetExternalRef,
    Written,
)
from lash.runtime.stores import Store
from lash.stores.memory import MemoryStore
from lash.stores.sqlite import SqliteStore
from lash.testing.clock import VirtualClock
from lash.testing.conformance import StoreConformance
from lash.testing.conformance.processes.samples import (
    DONE,
    ENV,
    PERSON,
    START_MS,
    note,
    refund,
    ring,
    scope,
    wait,
)
from lash.testing.conformance.samples import ANA, BEN, claim, record, request, wait_row

FENCE = Fence(fencing_token=1, nonce="nonce-of-ana-1")


class Killed(Exception):  # noqa: N818  stands for a process that is gone
    """The process died here."""


class Place:
    """A store that dies at a seam."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.dies_at: set[str] = set()
        self.passed: list[Seam] = []
        self.store: Store

    def observe(self, seam: Seam) -> None:
        self.passed.append(seam)
        if seam in self.dies_at:
            raise Killed

    async def held(self) -> list[object]:
        """All that is kept of processes, and of the session they wake."""
        store = self.store
        scopes = [scope("p"), scope("p", 1)]
        row = wait_row(store, scope=ProcessScope(process_id="p"))
        return [
            await store.load_process("p"),
            await store.load_process("q"),
            list(await store.process_events("p")),
            list(await store.observers_of("p")),
            list(await store.observers_of("q")),
            list(await store.list_wakes("p")),
            [list(await store.load_journal(key)) for key in scopes],
            (await store.inspect_waits([row]))[row.key_id],
            await store.change_cursor(),
            list((await store.processes_changed_since(0)).changes),
            list(await store.list_queue("s")),
            list(await store.list_sessions()),
        ]


@pytest.fixture(params=["memory", "sqlite"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """A store with a process that runs, waits, is seen, and has a wake on its way."""
    made = Place()
    if request.param == "memory":
        made.store = MemoryStore(made.clock, seams=made.observe)
    else:
        made.store = SqliteStore(tmp_path / "agents.db", made.clock, seams=made.observe)
    await prepared(made.store)
    made.passed.clear()
    yield made
    made.dies_at.clear()
    await made.store.aclose()


async def prepared(store: Store) -> None:
    await store.accept_turn(request("t1"))
    asked = RegisterRequest(
        registration=refund(wake_session_id="s"),
        observers=("s",),
        env=ENV,
        claim=claim(ANA),
    )
    assert isinstance(await store.register_process(asked), Registered)
    for write in (ring("hello"), MarkWait(fence=FENCE, wait=wait())):
        assert isinstance(await store.write_process("p", write), Written)
    await store.open_wait(wait_row(store, scope=ProcessScope(process_id="p")))


RECORDS = (record("r1"), record("r2"))
WRITES: list[tuple[str, ProcessWrite]] = [
    ("append", note(1, "k")),
    ("append", AppendEvent(event_type="sold", payload=1, replay_key="end", fence=FENCE)),
    ("claim", ClaimRun(claim=claim(ANA))),
    ("release", ReleaseRun(fence=FENCE)),
    ("park", ParkRun(fence=FENCE, parked=PERSON)),
    ("wait", MarkWait(fence=FENCE, wait=wait(due_at_ms=START_MS + 1))),
    ("resume", ClearWait(fence=FENCE)),
    ("complete", CompleteRun(fence=FENCE, outcome=DONE, records=RECORDS, scope_key=scope())),
    (
        "complete_by_authority",
        CompleteByAuthority(outcome=DONE, authority=WorkflowKey(workflow_key="w")),
    ),
    ("abandon", AbandonRun(claim=claim(ANA), writer="owner_drain")),
    (
        "continue",
        ContinueRun(
            fence=FENCE, segment=ProcessSegment(ordinal=1), records=RECORDS, scope_key=scope()
        ),
    ),
    ("external_ref", SetExternalRef(external_ref=ExternalRef(backend="b", id="1"))),
    (
        "request_abandon",
        RequestAbandon(request=AbandonRequest(requested_by="ana", requested_at_ms=START_MS)),
    ),
    ("retarget", RetargetWakes(session_id="z")),
    ("observers", ChangeObservers(by="ana", add=("z",), remove=("s",))),
]


@pytest.mark.parametrize(("tag", "write"), WRITES)
async def test_a_crash_inside_of_a_write_leaves_everything_as_it_was(
    place: Place, tag: str, write: ProcessWrite
) -> None:
    before = await place.held()
    place.dies_at = {f"process.{tag}.inside"}

    with pytest.raises(Killed):
        await place.store.write_process("p", write)

    place.dies_at.clear()
    assert await place.held() == before
    assert list(await place.store.check()) == []
    assert isinstance(await place.store.write_process("p", write), Written)
    assert await place.held() != before


async def deliver(store: Store) -> object:
    return await store.deliver_wakes()


async def register(store: Store) -> object:
    asked = RegisterRequest(registration=refund("q"), observers=("s",), claim=claim(BEN))
    return await store.register_process(asked)


async def transfer(store: Store) -> object:
    return await store.transfer_observers("s", "z", ["p"], "ana")


async def delete(store: Store) -> object:
    return await store.delete_session("s", claim(ANA))


@pytest.mark.parametrize(
    ("seams", "operation"),
    [
        ({"process.register.inside"}, register),
        ({"process.observers.inside"}, transfer),
        ({"wakes.inside", "enqueue.inside"}, deliver),
        ({"delete.inside"}, delete),
    ],
)
async def test_a_crash_inside_of_anything_else_leaves_everything_as_it_was(
    place: Place, seams: set[str], operation: Callable[[Store], Awaitable[object]]
) -> None:
    before = await place.held()
    place.dies_at = seams

    with pytest.raises(Killed):
        await operation(place.store)

    place.dies_at = set()
    assert await place.held() == before
    await operation(place.store)
    assert await place.held() != before
    assert list(await place.store.check()) == []


async def test_a_crash_inside_of_pruning_leaves_everything_as_it_was(place: Place) -> None:
    store = place.store
    ending = CompleteRun(fence=FENCE, outcome=DONE, records=RECORDS, scope_key=scope())
    await store.write_process("p", ending)
    await store.deliver_wakes()
    place.clock.advance(1)
    before, prune = await place.held(), PruneRequest(before_ms=place.clock.now_ms())
    place.dies_at = {"process.prune.inside"}

    with pytest.raises(Killed):
        await store.prune_processes(prune)

    place.dies_at.clear()
    assert await place.held() == before
    assert (await store.prune_processes(prune)).processes == 1
    assert list(await store.list_processes(ProcessFilter())) == []


async def test_no_seam_is_passed_where_nothing_is_written(place: Place) -> None:
    stale = Fence(fencing_token=9, nonce="stale")
    for write in (
        note(1, fence=stale),
        MarkWait(fence=FENCE, wait=wait()),
        ClaimRun(claim=claim(BEN)),
        CompleteRun(fence=stale, outcome=DONE, records=RECORDS, scope_key=scope()),
        RetargetWakes(session_id="s"),
        ChangeObservers(by="ana"),
        AppendEvent(event_type="undeclared"),
    ):
        assert not isinstance(await place.store.write_process("p", write), Written)
    await place.store.write_process("unknown", note(1))
    await place.store.transfer_observers("z", "s", ["p"], "ana")
    await place.store.prune_processes(PruneRequest(before_ms=START_MS + 10**9))
    await place.store.deliver_wakes(0)

    assert place.passed == []


async def test_the_token_of_changes_moves_with_every_write_and_not_by_looking(
    place: Place,
) -> None:
    store, tokens = place.store, [await place.store.change_token()]
    await place.held()
    assert await store.change_token() == tokens[0]
    await store.write_process("p", note(1))
    tokens.append(await store.change_token())
    await register(store)
    tokens.append(await store.change_token())
    await store.deliver_wakes()
    tokens.append(await store.change_token())

    assert len(set(tokens)) == 4


# --- damage -------------------------------------------------------------------------------------------


def damaged() -> tuple[MemoryStore, VirtualClock]:
    clock = VirtualClock()
    return MemoryStore(clock), clock


async def test_a_row_that_is_not_what_its_log_comes_to_is_found() -> None:
    store, _ = damaged()
    await prepared(store)
    held = store._processes.processes["p"]
    state = msgspec.structs.replace(held.record.state, failures=7)
    held.record = msgspec.structs.replace(held.record, state=state)

    (finding,) = await store.check()

    assert (finding.code, finding.severity) == ("process_state_mismatch", "error")
    assert "'p'" in finding.message


async def test_a_log_with_gaps_is_found() -> None:
    store, _ = damaged()
    await prepared(store)
    del store._processes.processes["p"].events[1]

    assert [finding.code for finding in await store.check()] == ["process_log_broken"]


async def test_a_lease_that_outlives_its_process_is_found() -> None:
    store, _ = damaged()
    await prepared(store)
    held = store._processes.processes["p"]
    lease = held.record.lease
    await store.write_process("p", CompleteRun(fence=FENCE, outcome=DONE, scope_key=scope()))
    held.record = msgspec.structs.replace(held.record, lease=lease)

    assert [finding.code for finding in await store.check()] == ["process_lease_kept"]


# --- the suite itself -----------------------------------------------------------------------------------


def test_no_property_of_the_suite_hides_another() -> None:
    """All groups end up in one class, where a name that is used twice would be run once."""
    owners: dict[str, list[str]] = {}
    for group in StoreConformance.__mro__:
        for name in vars(group):
            if not name.startswith("__"):
                owners.setdefault(name, []).append(group.__name__)

    assert {name: groups for name, groups in owners.items() if len(groups) > 1} == {}
