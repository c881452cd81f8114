"""The feed of changes: each process once at its latest place, and whoever follows it misses nothing."""

# ruff: noqa: D102  the name of a property says what it promises

import asyncio
from collections.abc import Sequence

from lash.processes.listing import ChangePage, ProcessChange, Upserted
from lash.processes.outcomes import ProcessSuccess
from lash.processes.writes import (
    AlreadyApplied,
    AppendEvent,
    ChangeObservers,
    CompleteByAuthority,
    ReleaseRun,
    RetargetWakes,
    WriteRefused,
)
from lash.testing.conformance.processes.registry import BANK, ProcessProperties, Registry, proof
from lash.testing.conformance.processes.samples import cancel, note, refund, scope
from lash.testing.conformance.rig import expect
from lash.testing.conformance.samples import record


def names(changes: Sequence[ProcessChange]) -> list[str]:
    """What changed, each marked if it is gone."""
    return [
        change.record.process_id
        if isinstance(change, Upserted)
        else f"-{change.tombstone.process_id}"
        for change in changes
    ]


async def page(registry: Registry, cursor: int, limit: int = 256) -> tuple[list[str], int]:
    """A piece of the feed, which says the same in brief."""
    whole = await registry.store.processes_changed_since(cursor, limit)
    ids, onward = await registry.store.changed_ids(cursor, limit)
    told = names(whole.changes)
    assert ([each.removeprefix("-") for each in told], whole.cursor) == (list(ids), onward)
    return told, whole.cursor


class ChangeProperties(ProcessProperties):
    """`processes_changed_since`, `changed_ids`, `change_cursor`."""

    async def test_an_empty_feed_ends_where_it_begins(self) -> None:
        async with self.registry() as registry:
            assert await registry.store.change_cursor() == 0
            assert await registry.store.processes_changed_since(0) == ChangePage(
                changes=(), cursor=0
            )
            assert await page(registry, 7) == ([], 7)

    async def test_each_process_stands_once_at_its_latest_place(self) -> None:
        async with self.registry() as registry:
            for name in ("p", "q", "r"):
                await registry.register(name)
            await registry.append(note(1), "p")
            await registry.interlude()
            await registry.append(note(2), "q")
            await registry.append(note(3), "p")
            await registry.interlude()
            assert await page(registry, 0) == (["r", "q", "p"], 6)
            assert await registry.store.change_cursor() == 6
            changes = (await registry.store.processes_changed_since(0)).changes
            assert [expect(Upserted, each).record for each in changes] == [
                await registry.load("r"),
                await registry.load("q"),
                await registry.load("p"),
            ]
            assert [expect(Upserted, each).record.change for each in changes] == [3, 5, 6]

    async def test_the_feed_goes_on_behind_a_cursor_page_by_page(self) -> None:
        async with self.registry() as registry:
            for name in ("e", "d", "c", "b", "a"):
                await registry.register(name)
            await registry.interlude()
            assert await page(registry, 0, 2) == (["e", "d"], 2)
            assert await page(registry, 2, 2) == (["c", "b"], 4)
            assert await page(registry, 4, 2) == (["a"], 5)
            assert await page(registry, 5, 2) == ([], 5)
            assert await page(registry, 3, 0) == ([], 3)
            await registry.append(note(1), "d")
            assert await page(registry, 5, 2) == (["d"], 6)

    async def test_an_end_is_a_change(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running()
            cursor = await registry.store.change_cursor()
            await registry.complete(lease)
            await registry.interlude()
            (change,) = (await registry.store.processes_changed_since(cursor)).changes
            assert expect(Upserted, change).record.status == "completed"

    async def test_what_writes_nothing_changes_nothing(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running(wakes="s")
            await registry.append(note(1, "k"))
            await registry.append(cancel())
            cursor = await registry.store.change_cursor()
            await registry.ask(refund(wake_session_id="s"))
            await registry.ask(refund())
            same = (note(1, "k"), cancel(), ChangeObservers(by="a"), RetargetWakes(session_id="s"))
            for write in same:
                expect(AlreadyApplied, await registry.result(write))
            undeclared = AppendEvent(event_type="undeclared")
            expect(WriteRefused, await registry.result(undeclared))
            await registry.renew(lease)
            await registry.store.record(scope(), [record("r1")], proof(lease))
            await registry.write(ReleaseRun(fence=lease.fence))
            await registry.interlude()
            assert await registry.store.change_cursor() == cursor
            assert await page(registry, cursor) == ([], cursor)

    async def test_a_write_of_several_events_is_one_change(self) -> None:
        async with self.registry() as registry:
            await registry.register()
            await registry.write(ChangeObservers(by="ana", add=("a", "b", "c")))
            assert await registry.store.change_cursor() == 2
            assert (await registry.load()).state.sequence == 3

    async def test_a_follower_misses_none_of_many_ends_at_once(self) -> None:
        """48 processes end at once while somebody reads along in pages of two."""
        async with self.registry() as registry:
            everyone = [f"p{number:02}" for number in range(48)]
            for name in everyone:
                await registry.register(name, "externally_owned")
            await registry.interlude()
            cursor, seen, writing = await registry.store.change_cursor(), list[str](), True

            async def end(name: str) -> None:
                outcome = ProcessSuccess(value=name)
                await registry.write(CompleteByAuthority(outcome=outcome, authority=BANK), name)

            async def follow() -> None:
                nonlocal cursor
                while True:
                    last_look = not writing
                    found = await registry.store.processes_changed_since(cursor, 2)
                    assert len(found.changes) <= 2
                    for change in found.changes:
                        ended = expect(Upserted, change).record
                        assert ended.outcome == ProcessSuccess(value=ended.process_id)
                        seen.append(ended.process_id)
                    cursor = found.cursor
                    if last_look and not found.changes:
                        return
                    await asyncio.sleep(0)

            following = asyncio.create_task(follow())
            await asyncio.gather(*(end(name) for name in everyone))
            writing = False
            await following
            assert sorted(seen) == everyone
            assert cursor == await registry.store.change_cursor() == 96

    async def test_changes_are_numbered_one_by_one(self) -> None:
        async with self.registry() as registry:
            for name in ("p", "q"):
                await registry.register(name)
            await asyncio.gather(*(registry.append(note(n), "pq"[n % 2]) for n in range(20)))
            await registry.interlude()
            assert await registry.store.change_cursor() == 22
            changes = (await registry.store.processes_changed_since(0)).changes
            assert sorted(expect(Upserted, each).record.change for each in changes)[-1] == 22
