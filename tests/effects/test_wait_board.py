"""Waiting for a promise: rows are the truth, hints only make it quick, and giving up is a proposal."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest
from effect_samples import TURN, until
from wait_samples import APPROVED, DENIED, PROCESS, Place, settled, tasks_of

from lash.core.cancel import Cancellation, CancelToken
from lash.core.errors import LashError, StoreError
from lash.effects.journal import RetireProcess
from lash.effects.waits.board import WaitBoard
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


# --- who wakes a waiter -------------------------------------------------------------------------------


async def test_what_was_resolved_before_is_there_at_once(place: Place) -> None:
    await place.resolve_elsewhere()

    assert await place.board.wait(place.row()) == APPROVED
    assert (place.watched.reads, tasks_of()) == ([], [])


async def test_a_resolution_in_this_process_is_seen_without_any_time(place: Place) -> None:
    waiting = begin(place.board.wait(place.row()))
    await settled()
    assert not waiting.done()

    await place.resolve_here()

    assert await waiting == APPROVED
    assert place.clock.monotonic() == 0


@pytest.mark.parametrize("rested", [0.0, 0.5, 30.0])
async def test_a_resolution_of_another_process_is_seen_by_the_stores_token(
    place: Place, rested: float
) -> None:
    waiting = begin(place.board.wait(place.row()))
    await settled()
    await place.pass_time(rested)
    assert not waiting.done()

    await place.resolve_elsewhere()
    await place.pass_time(0.06)  # the token is looked at every 30 ms

    assert waiting.done()
    assert await waiting == APPROVED


async def test_a_store_without_a_token_is_read_ever_more_slowly(slow: Place) -> None:
    waiting = begin(slow.board.wait(slow.row()))
    await settled()
    first = len(slow.watched.reads)
    await slow.pass_time(4.7)

    assert slow.watched.reads[first:] == [
        0.025,
        0.075,
        0.175,
        0.375,
        0.775,
        1.575,
        2.575,
        3.575,
        4.575,
    ]
    assert 1 <= first <= 2  # one may be asked for while the reader starts
    waiting.cancel()
    await asyncio.wait([waiting])


@pytest.mark.parametrize("rested", [0.0, 0.5, 30.0])
async def test_a_resolution_that_nothing_tells_of_is_seen_within_a_second(
    slow: Place, rested: float
) -> None:
    waiting = begin(slow.board.wait(slow.row()))
    await settled()
    await slow.pass_time(rested)

    await slow.resolve_elsewhere()
    await slow.pass_time(1.0)

    assert waiting.done()
    assert await waiting == APPROVED


async def test_whoever_comes_while_the_reader_rests_is_read_for_at_once(slow: Place) -> None:
    first = begin(slow.board.wait(slow.row()))
    await settled()
    await slow.pass_time(10)
    reads = len(slow.watched.reads)
    second = begin(slow.board.wait(slow.row(CustomWait(key="other"))))
    await settled()

    assert len(slow.watched.reads) == reads + 1
    assert slow.watched.rows_read[-1] == 2
    await slow.pass_time(0.025)
    assert len(slow.watched.reads) == reads + 2  # and it is quick again
    for waiting in (first, second):
        waiting.cancel()
    await asyncio.wait([first, second])


@pytest.mark.parametrize("here", [True, False])
async def test_a_resolution_between_opening_and_parking_is_not_missed(
    slow: Place, *, here: bool
) -> None:
    """The store has answered "pending", and the answer is still on its way when it is resolved."""
    other = begin(slow.board.wait(slow.row(CustomWait(key="other"))))  # so that somebody reads
    await settled()
    slow.watched.held = asyncio.Event()
    waiting = begin(slow.board.wait(slow.row()))
    await settled()
    await (slow.resolve_here() if here else slow.resolve_elsewhere())
    await settled()

    slow.watched.held.set()

    assert await waiting == APPROVED
    assert slow.clock.monotonic() == 0
    other.cancel()
    await asyncio.wait([other])


async def test_one_reader_reads_for_all_who_wait(place: Place) -> None:
    rows = [place.row(CustomWait(key=f"k{number}")) for number in range(50)]
    waiting = [begin(place.board.wait(row)) for row in rows]
    await settled()
    assert len(tasks_of()) == 1
    reads = len(place.watched.reads)

    for row in rows:
        await place.store.resolve_wait(row, APPROVED)
    await place.pass_time(0.06)

    assert [await task for task in waiting] == [APPROVED] * 50
    assert len(place.watched.reads) - reads <= 3
    assert place.watched.rows_read[reads] == 50


async def test_all_who_wait_for_one_promise_get_its_resolution(place: Place) -> None:
    elsewhere = WaitBoard(place.store, place.clock)
    waiting = [begin(board.wait(place.row())) for board in (place.board, place.board, elsewhere)]
    await settled()

    await place.resolve_elsewhere(DENIED)
    await place.pass_time(0.06)

    assert [await task for task in waiting] == [DENIED] * 3
    await elsewhere.aclose()


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


async def test_the_reader_rests_once_nobody_waits(slow: Place) -> None:
    waiting = begin(slow.board.wait(slow.row()))
    await settled()
    await slow.pass_time(30)
    assert len(tasks_of()) == 1
    waiting.cancel()
    await asyncio.wait([waiting])
    await slow.pass_time(1.1)

    assert tasks_of() == []
    reads = len(slow.watched.reads)
    await slow.pass_time(30, step=0.5)
    assert (len(slow.watched.reads), slow.clock.sleeping) == (reads, 0)
    # And begins again with the next who waits.
    again = begin(slow.board.wait(slow.row()))
    await settled()
    await slow.resolve_elsewhere()
    await slow.pass_time(0.05)
    assert await again == APPROVED


async def test_closing_stops_the_reader(place: Place) -> None:
    waiting = begin(place.board.wait(place.row()))
    await settled()
    assert len(tasks_of()) == 1

    await place.board.aclose()

    assert (tasks_of(), waiting.done()) == ([], False)
    await place.board.aclose()
    waiting.cancel()
    await asyncio.wait([waiting])


# --- what goes wrong meanwhile ------------------------------------------------------------------------


async def test_a_wait_whose_session_is_deleted_ends_with_an_error(place: Place) -> None:
    row = place.row(scope=TURN)
    waiting = begin(place.board.wait(row))
    await settled()
    await place.store.revoke_session_waits("s")
    await place.pass_time(0.06)

    with pytest.raises(LashError) as refused:
        await waiting
    assert refused.value.code == "await_event_unknown_or_revoked"
    with pytest.raises(LashError) as refused:
        await place.board.wait(row)
    assert refused.value.code == "await_event_unknown_or_revoked"


async def test_a_wait_whose_row_was_retired_begins_again(place: Place) -> None:
    waiting = begin(place.board.wait(place.row(deadline_at_ms=60_000)))
    await settled()
    await place.store.retire(RetireProcess(process_id=PROCESS.process_id))
    await place.pass_time(1.1)
    assert not waiting.done()
    row = place.row()
    assert await place.store.inspect_waits([row]) == {
        row.key_id: WaitPending(deadline_at_ms=60_000)
    }

    await place.resolve_elsewhere()
    await place.pass_time(0.06)
    assert await waiting == APPROVED


async def test_a_store_that_cannot_be_read_for_a_while_does_not_end_a_wait(
    slow: Place, caplog: pytest.LogCaptureFixture
) -> None:
    waiting = begin(slow.board.wait(slow.row()))
    await settled()
    slow.watched.broken = StoreError("store_busy", "locked")
    with caplog.at_level(logging.WARNING, "lash.effects"):
        await slow.pass_time(10)
    assert "trying again" in caplog.text
    assert not waiting.done()
    slow.watched.broken = None
    await slow.resolve_elsewhere()
    await slow.pass_time(1.0)

    assert waiting.done()
    assert await waiting == APPROVED


async def test_a_store_that_cannot_be_read_is_asked_no_more_often_for_it(slow: Place) -> None:
    slow.watched.broken = StoreError("store_busy", "locked")
    waiting = begin(slow.board.wait(slow.row()))
    await settled()
    await slow.pass_time(10)

    assert len(slow.watched.reads) <= 16
    waiting.cancel()
    await asyncio.wait([waiting])


async def test_a_token_that_cannot_be_read_for_a_while_does_not_end_a_wait(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "asyncio")
    waiting = begin(place.board.wait(place.row()))
    await settled()
    await place.pass_time(1)
    (reader,) = tasks_of()
    place.watched.token_broken = StoreError("store_busy", "locked")
    await place.pass_time(5)
    place.watched.token_broken = None
    await place.resolve_elsewhere()
    await place.pass_time(2)

    seen = waiting.done()
    waiting.cancel()
    await asyncio.wait([waiting])
    await place.board.aclose()
    if not reader.cancelled():
        reader.exception()  # retrieved
    assert seen


async def test_a_wait_that_cannot_even_begin_says_so(place: Place) -> None:
    place.watched.unopenable = StoreError("store_busy", "locked")
    with pytest.raises(StoreError):
        await place.board.wait(place.row())

    assert tasks_of() == []
    place.watched.unopenable = None
    await place.resolve_elsewhere()
    assert await place.board.wait(place.row()) == APPROVED
