"""Giving up a wait proposes a resolution like any other; dropping it proposes nothing."""

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest
from effect_samples import TURN, until
from wait_samples import APPROVED, Place, settled, tasks_of

from lash.core.cancel import Cancellation, CancelToken
from lash.core.errors import LashError
from lash.effects.waits.model import (
    AlreadyResolved,
    AwaitEventWaitIdentity,
    CustomWait,
    Resolution,
    ResolveAccepted,
    ResolvedCancelled,
    ResolvedTimeout,
    TurnCancelGateWait,
    TurnTerminalWait,
)
from lash.effects.waits.transitions import WaitPending, WaitResolved

STOP = Cancellation(request_id="r1")
TIMEOUT, CANCELLED = ResolvedTimeout(), ResolvedCancelled()


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    made = Place()
    yield made
    await made.board.aclose()


@pytest.fixture
async def slow() -> AsyncIterator[Place]:
    """A place whose store tells nothing: only looking at the rows does."""
    made = Place(tokens=False)
    yield made
    await made.board.aclose()


def begin(work: Coroutine[Any, Any, Resolution]) -> "asyncio.Task[Resolution]":
    return asyncio.create_task(work)


async def stopped() -> None:
    await until(lambda: not tasks_of())


# --- giving up ----------------------------------------------------------------------------------------


async def test_a_deadline_is_a_resolution(place: Place) -> None:
    waiting = begin(place.board.wait(place.row(deadline_at_ms=60_000)))
    await settled()
    place.clock.advance(59.999)
    await settled()
    assert not waiting.done()
    assert place.watched.writes == []
    place.clock.advance(0.001)

    assert await waiting == TIMEOUT
    assert place.watched.writes == [TIMEOUT]
    assert await place.resolve_elsewhere() == AlreadyResolved(terminal=TIMEOUT)
    assert await place.board.wait(place.row()) == TIMEOUT


async def test_a_deadline_is_kept_over_a_restart(place: Place) -> None:
    first = begin(place.board.wait(place.row(deadline_at_ms=60_000)))
    await settled()
    first.cancel()
    await asyncio.wait([first])
    place.clock.advance(45)

    again = begin(place.board.wait(place.row(deadline_at_ms=45_000 + 60_000)))
    await settled()
    place.clock.advance(14.999)
    await settled()
    assert not again.done()
    place.clock.advance(0.001)

    assert await again == TIMEOUT


async def test_a_cancel_is_a_resolution(place: Place) -> None:
    cancel = CancelToken()
    waiting = begin(place.board.wait(place.row(), cancel))
    await settled()
    assert not waiting.done()

    cancel.cancel(STOP)

    assert await waiting == CANCELLED
    assert place.watched.writes == [CANCELLED]
    assert await place.resolve_elsewhere() == AlreadyResolved(terminal=CANCELLED)
    assert place.clock.monotonic() == 0


async def test_a_token_tripped_in_another_thread_wakes_the_waiter(place: Place) -> None:
    cancel = CancelToken()
    waiting = begin(place.board.wait(place.row(), cancel))
    await settled()
    tripping = threading.Thread(target=lambda: cancel.cancel(STOP))
    tripping.start()
    tripping.join()

    async with asyncio.timeout(10):
        assert await waiting == CANCELLED


async def test_a_wait_that_begins_too_late_or_cancelled_ends_at_once(place: Place) -> None:
    cancel = CancelToken()
    cancel.cancel(STOP)
    place.clock.advance(9)
    late, stopped_ = place.row(CustomWait(key="a"), deadline_at_ms=9000), CustomWait(key="b")

    assert await place.board.wait(late) == TIMEOUT
    assert await place.board.wait(place.row(stopped_), cancel) == CANCELLED
    # Both at once: the deadline was there first.
    both = place.row(CustomWait(key="c"), deadline_at_ms=9000)
    assert await place.board.wait(both, cancel) == TIMEOUT


async def test_what_is_resolved_beats_a_tripped_token_and_a_deadline_that_passed(
    place: Place,
) -> None:
    cancel = CancelToken()
    cancel.cancel(STOP)
    await place.resolve_elsewhere()
    place.clock.advance(9)

    assert await place.board.wait(place.row(deadline_at_ms=1), cancel) == APPROVED
    assert place.watched.writes == []


@pytest.mark.parametrize("by", ["deadline", "cancel"])
async def test_giving_up_returns_what_won_and_not_what_was_wanted(slow: Place, by: str) -> None:
    cancel = CancelToken()
    deadline = 10_000 if by == "deadline" else None
    waiting = begin(slow.board.wait(slow.row(deadline_at_ms=deadline), cancel))
    await settled()
    await slow.pass_time(9.99)
    await slow.resolve_elsewhere()  # nobody here has looked since
    assert not waiting.done()
    if by == "deadline":
        slow.clock.advance(0.01)
    else:
        cancel.cancel(STOP)

    assert await waiting == APPROVED
    assert slow.watched.writes == [TIMEOUT if by == "deadline" else CANCELLED]


async def test_a_waiter_that_gave_up_wakes_the_others_here(slow: Place) -> None:
    cancel = CancelToken()
    waiting = begin(slow.board.wait(slow.row()))
    giving_up = begin(slow.board.wait(slow.row(), cancel))
    await settled()
    await slow.pass_time(5)
    now = slow.clock.monotonic()

    cancel.cancel(STOP)

    assert [await giving_up, await waiting] == [CANCELLED, CANCELLED]
    assert slow.clock.monotonic() == now


async def test_a_deadline_that_came_second_does_not_make_a_waiter_spin(place: Place) -> None:
    """The promise was opened without a deadline, which it keeps."""
    first = begin(place.board.wait(place.row()))
    await settled()
    second = begin(place.board.wait(place.row(deadline_at_ms=1000), None, 1000))
    await settled()
    place.clock.advance(2)
    await settled()
    reads = len(place.watched.reads)
    await settled(300)

    try:
        assert (
            len(place.watched.reads) - reads <= 1
        )  # time stands still: there is nothing to look at
    finally:
        for waiting in (first, second):
            waiting.cancel()
        await asyncio.wait([first, second])


# --- what steers a turn -------------------------------------------------------------------------------

CONTROL = pytest.mark.parametrize("wait", [TurnCancelGateWait(), TurnTerminalWait()])


@CONTROL
async def test_giving_up_on_a_turn_writes_nothing(
    place: Place, wait: AwaitEventWaitIdentity
) -> None:
    row, cancel = place.row(wait, scope=TURN), CancelToken()
    waiting = begin(place.board.wait(row, cancel))
    await settled()
    cancel.cancel(STOP)
    with pytest.raises(LashError) as given_up:
        await waiting
    assert given_up.value.code == "turn_control_wait_cancelled"

    late = begin(place.board.wait(row, None, 60_000))
    await settled()
    place.clock.advance(59.999)
    await settled()
    assert not late.done()
    place.clock.advance(0.001)
    with pytest.raises(LashError) as timed_out:
        await late
    assert (timed_out.value.code, timed_out.value.retryable) == ("turn_control_wait_timeout", True)

    assert place.watched.writes == []
    assert await place.resolve_elsewhere(APPROVED, row) == ResolveAccepted()
    assert await place.board.wait(row, cancel, 0) == APPROVED


@CONTROL
async def test_the_end_of_a_turn_is_seen_by_whoever_came_before_and_after(
    place: Place, wait: AwaitEventWaitIdentity
) -> None:
    row = place.row(wait, scope=TURN)
    before = begin(place.board.wait(row))
    await settled()
    await place.resolve_here(APPROVED, row)

    assert await before == APPROVED
    assert await place.board.wait(row) == APPROVED


# --- dropping a wait ----------------------------------------------------------------------------------


async def test_dropping_a_wait_writes_nothing(place: Place) -> None:
    cancel = CancelToken()
    waiting = begin(place.board.wait(place.row(deadline_at_ms=60_000), cancel))
    await settled()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not cancel._callbacks  # nobody listens any more
    cancel.cancel(STOP)
    place.clock.advance(120)
    await settled()

    assert place.watched.writes == []
    row = place.row()
    assert await place.store.inspect_waits([row]) == {
        row.key_id: WaitPending(deadline_at_ms=60_000)
    }


async def test_a_wait_dropped_while_it_gives_up_has_still_given_up(place: Place) -> None:
    """The token was tripped: that is a fact, whoever is there to see its end."""
    cancel = CancelToken()
    waiting = begin(place.board.wait(place.row(), cancel))
    await settled()
    cancel.cancel(STOP)
    await until(lambda: place.watched.writes)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    row = place.row()
    assert await place.store.inspect_waits([row]) == {
        row.key_id: WaitResolved(resolution=CANCELLED)
    }
