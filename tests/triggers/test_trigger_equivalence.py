"""Whatever is done to triggers in whatever order, SQLite and memory give the same answers.

Few names, so that they meet. Both stores must say the same at each step, and hold the same at the end.
"""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lash.core.json import JsonValue
from lash.processes.listing import ProcessFilter, PruneRequest
from lash.processes.outcomes import ProcessSuccess
from lash.processes.registration import RegisterRequest
from lash.processes.writes import CompleteByAuthority
from lash.runtime.stores import Store
from lash.stores.memory import MemoryStore
from lash.stores.sqlite import SqliteStore
from lash.testing.clock import VirtualClock
from lash.testing.conformance.processes.registry import BANK
from lash.testing.conformance.processes.samples import DAY_MS, refund
from lash.testing.conformance.samples import ANA, claim, request
from lash.testing.conformance.triggers.board import APP, DESK, REFUND, SAY, draft, of_session
from lash.triggers.commands import (
    Declare,
    Delete,
    Disable,
    Enable,
    Prune,
    Register,
    Revive,
    TriggerCommand,
    TriggerOperation,
    Update,
)
from lash.triggers.listing import (
    DeliveryFilter,
    DeliverySettled,
    OccurrenceFilter,
    RetentionRequest,
    SubscriptionFilter,
)
from lash.triggers.model import (
    DeliveryFailure,
    HostActor,
    OccurrenceRequest,
    SessionActor,
    TriggerActor,
    TriggerOwner,
)

Step = Callable[[Store, VirtualClock], Awaitable[object]]

OWNERS: list[TriggerOwner] = [APP, DESK, of_session("s"), of_session("z")]
ACTORS: list[TriggerActor] = [HostActor(), HostActor(scope="x"), SessionActor(session_id="s")]
SOURCES: list[JsonValue] = [None, 1]

owners = st.sampled_from(OWNERS)
actors = st.sampled_from(ACTORS)
keys = st.sampled_from(["a", "b"])
revisions = st.none() | st.integers(0, 5)
drafts = st.builds(
    draft,
    keys,
    event=st.sampled_from(["paid", "sent"]),
    target=st.sampled_from([REFUND, SAY]),
    source=st.sampled_from(SOURCES),
    name=st.sampled_from([None, "n"]),
)
_AT: dict[str, Any] = {
    "owner": owners,
    "actor": actors,
    "key": keys,
    "expected_revision": revisions,
}
commands: st.SearchStrategy[TriggerCommand] = st.one_of(
    st.builds(Register, owner=owners, actor=actors, draft=drafts),
    st.builds(Register, owner=owners, actor=actors, draft=drafts),
    st.builds(Update, draft=drafts, **_AT),
    st.builds(Enable, **_AT),
    st.builds(Disable, **_AT),
    st.builds(Delete, **_AT),
    st.builds(Revive, draft=drafts, **_AT),
    st.builds(
        Declare,
        owner=owners,
        actor=actors,
        drafts=st.lists(drafts, max_size=2, unique_by=lambda each: each.key).map(tuple),
        others=st.lists(keys, max_size=2).map(tuple),
    ),
    st.builds(Prune, owner=owners, actor=actors, keys=st.lists(keys, max_size=3).map(tuple)),
)
occurrences = st.builds(
    OccurrenceRequest,
    event=st.sampled_from(["paid", "sent"]),
    key=st.sampled_from(["1", "2", "3"]),
    payload=st.sampled_from([None, {"id": 1}]),
    source=st.sampled_from(SOURCES),
    session_id=st.sampled_from([None, "s"]),
)


async def everything(store: Store) -> object:
    triggers = store.triggers
    return (
        list(await triggers.list_subscriptions(SubscriptionFilter(deleted=True))),
        list(await triggers.list_subscriptions(SubscriptionFilter(session_id="s"))),
        list(await triggers.list_subscriptions(SubscriptionFilter(target="refund", enabled=True))),
        list(await triggers.list_occurrences(OccurrenceFilter())),
        list(await triggers.list_occurrences(OccurrenceFilter(event="paid"), limit=1, newest=True)),
        list(await triggers.list_deliveries(DeliveryFilter())),
        list(await triggers.list_deliveries(DeliveryFilter(state="reserved"), limit=2)),
    )


def does(operation: TriggerOperation) -> Step:
    return lambda store, clock: store.triggers.execute(operation)


def occurs(happened: OccurrenceRequest) -> Step:
    return lambda store, clock: store.triggers.ingest(happened)


def settles(place: int, *, failed: bool) -> Step:
    async def step(store: Store, clock: VirtualClock) -> object:
        found = await store.triggers.list_deliveries(DeliveryFilter())
        if not found:
            return None
        chosen = found[place % len(found)].delivery_id
        why = DeliveryFailure(code="c", message="m") if failed else None
        state = "failed" if failed else "started"
        return await store.triggers.settle(
            [DeliverySettled(delivery_id=chosen, state=state, failure=why)]  # type: ignore[arg-type]  # one of both
        )

    return step


def ends_process(place: int) -> Step:
    """The process of a delivery is there, and ends."""

    async def step(store: Store, clock: VirtualClock) -> object:
        found = await store.triggers.list_deliveries(DeliveryFilter())
        if not found:
            return None
        process_id = found[place % len(found)].delivery_id
        await store.register_process(
            RegisterRequest(registration=refund(process_id, "externally_owned"))
        )
        ending = CompleteByAuthority(outcome=ProcessSuccess(value=1), authority=BANK)
        await store.write_process(process_id, ending)
        return None

    return step


async def prunes(store: Store, clock: VirtualClock) -> object:
    return await store.prune_processes(
        PruneRequest(before_ms=clock.now_ms() + 1, filter=ProcessFilter(status="retired"))
    )


async def begins_session(store: Store, clock: VirtualClock) -> object:
    await store.accept_turn(request("t1", session="s"))
    return None


async def deletes_session(store: Store, clock: VirtualClock) -> object:
    deleted = await store.delete_session("s", claim(ANA))
    return type(deleted)


def retains(age_ms: int, limit: int, *, failed: bool) -> Step:
    async def step(store: Store, clock: VirtualClock) -> object:
        before = clock.now_ms() - age_ms
        return await store.triggers.retain(
            RetentionRequest(before_ms=before, failed=failed, limit=limit)
        )

    return step


steps: st.SearchStrategy[Step] = st.one_of(
    st.builds(TriggerOperation, operation_id=st.sampled_from("opqrstu"), command=commands).map(
        does
    ),
    st.builds(TriggerOperation, operation_id=st.uuids().map(str), command=commands).map(does),
    occurrences.map(occurs),
    occurrences.map(occurs),
    st.builds(settles, st.integers(0, 9), failed=st.booleans()),
    st.builds(ends_process, st.integers(0, 9)),
    st.just(prunes),
    st.just(begins_session),
    st.just(deletes_session),
    st.builds(retains, st.sampled_from([-1, 0, DAY_MS]), st.integers(0, 3), failed=st.booleans()),
)


async def compare(done: list[tuple[Step, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        clock = VirtualClock()
        pair: list[Store] = [MemoryStore(clock), SqliteStore(Path(folder) / "db", clock)]
        try:
            for step, later in done:
                said = [await step(store, clock) for store in pair]
                assert said[0] == said[1]
                held = [await everything(store) for store in pair]
                assert held[0] == held[1]
                clock.advance(later)
            assert [list(await store.check()) for store in pair] == [[], []]
        finally:
            for store in pair:
                await store.aclose()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(steps, st.sampled_from([0, 0, 1, 86_400])), max_size=25))
def test_memory_and_sqlite_keep_the_same(done: list[tuple[Step, int]]) -> None:
    asyncio.run(compare(done))
