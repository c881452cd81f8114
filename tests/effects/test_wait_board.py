"""Waiting for a promise: rows are the truth, and hints only make it quick."""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest
from effect_samples import TURN, until
from wait_samples import APPROVED, DENIED, PROCESS, Place, settled, tasks_of

from lash.core.cancel import Cancellation
from lash.core.errors import LashError, StoreError
from lash.effects.journal import RetireProcess
from lash.effects.waits.board import WaitBoard
from lash.effects.waits.model import (
    CustomWait,
    Resolution,
    ResolvedCancelled,
    ResolvedTimeout,
)
from lash.effects.waits.transitions import WaitPending

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


async def test_what_is_resolved_in_this_process_wakes_nobody_else(place: Place) -> None:
    waiting = begin(place.board.wait(place.row()))
    other = begin(place.board.wait(place.row(CustomWait(key="other"))))
    await settled()
    reads = len(place.watched.reads)
    await place.resolve_here()

    assert await waiting == APPROVED
    await settled()
    assert not other.done()
    assert len(place.watched.reads) == reads  # nothing had to be read again for it
    other.cancel()
    await asyncio.wait([other])


async def test_many_resolutions_at_once_are_seen_in_one_read(place: Place) -> None:
    rows = [place.row(CustomWait(key=f"k{number}")) for number in range(20)]
    waiting = [begin(place.board.wait(row)) for row in rows]
    await settled()
    for row in rows:
        await place.resolve_elsewhere(DENIED, row)
    place.board.nudge()

    assert [await task for task in waiting] == [DENIED] * 20
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


# --- one reader for all ---------------------------------------------------------------------------------


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


async def test_closing_stops_the_reader_and_tells_who_waits(place: Place) -> None:
    row = place.row()
    waiting = begin(place.board.wait(row))
    await settled()
    assert len(tasks_of()) == 1

    await place.board.aclose()

    with pytest.raises(LashError) as told:
        await waiting
    assert told.value.code == "runtime_closed"
    assert tasks_of() == []
    with pytest.raises(LashError) as told:
        await place.board.wait(row)  # nobody would read for it any more
    assert told.value.code == "runtime_closed"
    assert (await place.store.inspect_waits([row]))[row.key_id] == WaitPending()
    await place.board.aclose()


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
