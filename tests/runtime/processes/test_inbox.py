"""The signals of a running process: read a page at a time, handed out once, given back."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import cast

from lash.core.clock import SystemClock
from lash.processes.events import ProcessEvent
from lash.processes.model import SignalCursor
from lash.processes.store import ProcessStore
from lash.runtime.processes.inbox import SignalInbox
from lash.runtime.processes.news import ProcessNews


class Log:
    """As much of a store as an inbox asks for: signals of one name, by number."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.reads = 0

    async def process_events(
        self, process_id: str, *, after: int, event_type: str, limit: int
    ) -> Sequence[ProcessEvent]:
        self.reads += 1
        through = min(self.count, after + limit)
        return [
            ProcessEvent(
                process_id=process_id,
                sequence=number,
                event_type=event_type,
                payload=number,
                occurred_at_ms=number,
            )
            for number in range(after + 1, through + 1)
        ]


def inbox_of(log: Log, cursors: Mapping[str, SignalCursor] | None = None) -> SignalInbox:
    store = cast("ProcessStore", log)
    return SignalInbox(store, ProcessNews(), SystemClock(asyncio.sleep), "p", cursors or {})


async def taken(inbox: SignalInbox) -> int:
    async with asyncio.timeout(5):
        with inbox.queueing("s") as place:
            event = await inbox.take("s", place)
    assert event is not None
    return event.sequence


async def test_pages_of_signals_that_were_taken_before_are_passed_over() -> None:
    log = Log(601)
    inbox = inbox_of(log)
    inbox.mark_taken("s", range(1, 601))
    assert await taken(inbox) == 601
    assert inbox.cursors() == {"s": SignalCursor(through=601)}


async def test_what_is_there_is_not_read_again_for_each_wait() -> None:
    log = Log(500)
    inbox = inbox_of(log)
    assert [await taken(inbox) for _ in range(500)] == list(range(1, 501))
    assert log.reads == 2


async def test_a_cursor_says_what_is_left() -> None:
    inbox = inbox_of(Log(5))
    inbox.mark_taken("s", [2, 4])
    assert await taken(inbox) == 1
    cursors = inbox.cursors()
    assert cursors == {"s": SignalCursor(through=2, beyond=(4,))}
    following = inbox_of(Log(5), cursors)
    assert [await taken(following), await taken(following)] == [3, 5]
    assert following.cursors() == {"s": SignalCursor(through=5)}


async def test_what_was_not_read_is_no_matter_of_the_cursor() -> None:
    inbox = inbox_of(Log(5), {"s": SignalCursor(through=1)})
    inbox.mark_taken("s", [3])
    assert inbox.cursors() == {"s": SignalCursor(through=1, beyond=(3,))}


async def test_what_is_given_back_is_the_next_ones() -> None:
    inbox = inbox_of(Log(3))
    with inbox.queueing("s") as place:
        first = await inbox.take("s", place)
    assert first is not None
    assert await taken(inbox) == 2
    inbox.put_back("s", first)
    assert [await taken(inbox), await taken(inbox)] == [1, 3]


async def test_what_an_earlier_run_took_for_nothing_is_released_unless_another_wait_took_it() -> (
    None
):
    inbox = inbox_of(Log(4))
    inbox.mark_taken("s", [1, 2])
    inbox.mark_taken("s", [2])  # given back, and taken by the next wait
    assert await taken(inbox) == 3
    inbox.release("s", 2)
    inbox.release("s", 1)
    assert [await taken(inbox), await taken(inbox)] == [1, 4]
