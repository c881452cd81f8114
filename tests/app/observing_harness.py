"""Readers of a session in tests: what they are told, up to an item, and in a word."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import lash
from lash.app.live_view import LiveView
from lash.events import TextDelta
from lash.runtime.observed import Committed, Event, Item, QueueChanged, Snapshot, TurnActivity
from lash.runtime.observing import Observation


def word(item: Item) -> str:
    """An item in a word."""
    match item:
        case Event(event=TurnActivity(event=happened)):
            return str(happened.__struct_config__.tag)
        case Event(event=event):
            return str(event.__struct_config__.tag)
        case _:
            return str(item.__struct_config__.tag)


async def read_until(items: Observation, enough: Callable[[Item], bool]) -> list[Item]:
    """What is told, up to and with the first item that is enough."""
    found: list[Item] = []
    async for item in items:
        found.append(item)
        if enough(item):
            return found
    raise AssertionError("the stream ended")


@asynccontextmanager
async def watching(session: lash.Session, *views: LiveView) -> AsyncIterator[Observation]:
    """A reader that has had its snapshot; one that has not begins wherever it first reads."""
    async with session.observe() as items:
        first = await anext(items)
        assert isinstance(first, Snapshot)
        for view in views:
            view.apply(first)
        yield items


def is_commit(turn_id: str) -> Callable[[Item], bool]:
    """Whether an item tells of a turn's commit."""

    def enough(item: Item) -> bool:
        return (
            isinstance(item, Event)
            and isinstance(item.event, Committed)
            and item.event.turn_id == turn_id
        )

    return enough


def queue_changes(items: list[Item]) -> list[tuple[str, tuple[str, ...]]]:
    """What the queue did, and with which inputs."""
    return [
        (item.event.kind, item.event.input_ids)
        for item in items
        if isinstance(item, Event) and isinstance(item.event, QueueChanged)
    ]


def live_text(items: list[Item]) -> str:
    """The text that was told piece by piece."""
    return "".join(
        item.event.event.text
        for item in items
        if isinstance(item, Event)
        and isinstance(item.event, TurnActivity)
        and isinstance(item.event.event, TextDelta)
    )


async def shown(session: lash.Session) -> list[lash.HistoryMessage]:
    """The whole history: what a reader's messages must come to."""
    return list(await session.history(whole=True))
