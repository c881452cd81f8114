"""What a host over a store asks of it: nothing for a forged key, no more than needed for others."""

import asyncio

import msgspec
import pytest
from effect_samples import TURN
from wait_samples import APPROVED, DENIED, PROCESS, Place, WatchedPromises, settled, tasks_of

from lash.core.errors import LashError
from lash.effects.hosts import StorePromises
from lash.effects.waits.model import (
    AlreadyResolved,
    AwaitEventWaitIdentity,
    CustomWait,
    ProcessSignalWait,
    ResolvedTimeout,
    UnknownOrRevoked,
)


class Untouchable(WatchedPromises):
    """A store that must not be asked for anything but its secret."""

    def __getattribute__(self, name: str) -> object:
        if name.endswith(("_wait", "_waits", "_token", "is_revoked")):
            raise AssertionError(name)
        return super().__getattribute__(name)


@pytest.fixture
def place() -> Place:
    return Place()


async def test_a_forged_key_never_reaches_the_store(place: Place) -> None:
    key = await StorePromises(place.store, place.clock).await_event_key(
        PROCESS, CustomWait(key="k")
    )
    promises = StorePromises(Untouchable(place.store, place.clock), place.clock)
    for forged in (
        msgspec.structs.replace(key, signature="0" * 64),
        msgspec.structs.replace(key, wait=CustomWait(key="other")),
    ):
        assert await promises.resolve_await_event(forged, APPROVED) == UnknownOrRevoked()
        for asking in (promises.peek_await_event(forged), promises.await_await_event(forged)):
            with pytest.raises(LashError) as refused:
                await asking
            assert refused.value.code == "await_event_unknown_or_revoked"
    with pytest.raises(AssertionError):
        await promises.resolve_await_event(key, APPROVED)  # the store would have told


async def test_minting_for_a_process_asks_the_store_nothing(place: Place) -> None:
    promises = StorePromises(Untouchable(place.store, place.clock), place.clock)
    key = await promises.await_event_key(PROCESS, CustomWait(key="k"))

    assert key == await promises.await_event_key(PROCESS, CustomWait(key="k"))
    assert await place.store.list_waits('{"version":2,"kind":"process","execution_id":"p"}') == []


async def test_the_loser_of_two_resolutions_tells_nobody_its_own(place: Place) -> None:
    promises = StorePromises(place.watched, place.clock)
    key = await promises.await_event_key(PROCESS, CustomWait(key="k"))
    place.watched.tokens = False
    waiting = asyncio.create_task(promises.await_await_event(key))
    await settled()
    await place.resolve_elsewhere(APPROVED)

    answer = await promises.resolve_await_event(key, DENIED)

    assert answer == AlreadyResolved(terminal=APPROVED)
    await place.pass_time(1.1)
    assert await waiting == APPROVED
    await promises.aclose()
    assert tasks_of() == []


@pytest.mark.parametrize("session_id", ["", " \n"])
async def test_the_waits_of_a_blank_session_are_nobodys(place: Place, session_id: str) -> None:
    promises = StorePromises(Untouchable(place.store, place.clock), place.clock)
    for asking in (
        promises.cancel_await_events_for_session(session_id),
        promises.revoke_await_events_for_session(session_id),
    ):
        with pytest.raises(LashError) as refused:
            await asking
        assert refused.value.code == "invalid_await_event_session_id"


async def test_a_revoked_session_gets_no_new_keys(place: Place) -> None:
    promises = StorePromises(place.store, place.clock)
    await promises.revoke_await_events_for_session("s")

    with pytest.raises(LashError) as refused:
        await promises.await_event_key(TURN, CustomWait(key="k"))
    assert refused.value.code == "await_event_unknown_or_revoked"


async def test_a_deadline_has_resolved_a_promise_whether_or_not_anybody_was_there(
    place: Place,
) -> None:
    promises = StorePromises(place.store, place.clock)
    key = await promises.await_event_key(PROCESS, CustomWait(key="k"))
    dropped = asyncio.create_task(promises.await_await_event(key, deadline_at_ms=1000))
    await settled()
    dropped.cancel()
    await asyncio.wait([dropped])
    await promises.aclose()
    place.clock.advance(1)

    peeked = await promises.peek_await_event(key)

    late = await promises.resolve_await_event(key, APPROVED)
    assert late == AlreadyResolved(terminal=ResolvedTimeout())
    assert peeked == ResolvedTimeout()


@pytest.mark.parametrize(
    "wait",
    [
        ProcessSignalWait(process_id="p", signal_name="n", ordinal=2**64),
        CustomWait(key="\ud800"),
    ],
)
async def test_a_wait_that_no_key_can_name_is_refused(
    place: Place, wait: AwaitEventWaitIdentity
) -> None:
    with pytest.raises(LashError):
        await StorePromises(place.store, place.clock).await_event_key(PROCESS, wait)
