"""The real writers and the real sweep over one store, step by step in orders that hypothesis chooses.

Every call of a store waits until the schedule lets it go on. Whoever is killed never goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from lash.attachments.policy import AttachmentPolicy
from lash.attachments.transitions import Sweeper
from lash.core.leases import LeaseOwner
from lash.core.seams import unobserved
from lash.runtime.attachment_reclaim import Reclaim
from lash.runtime.attachments import SessionAttachmentStore, owned_by_turn
from lash.stores.memory import MemoryStore
from lash.testing.clock import VirtualClock
from lash.testing.conformance.attachments.shelf import around

T = TypeVar("T")

MANIFEST = ("begin_write", "holds_ref", "forget", "condemn", "arm", "release", "roots", "has_root")
BLOBS = ("put", "delete", "list", "head")


class Restless(VirtualClock):
    """A clock on which nobody waits: how long things take is the schedule's to say."""

    async def sleep(self, seconds: float) -> None:
        del seconds
        await asyncio.sleep(0)


class Stage:
    """One store, two writers and two sweepers, each at a call that waits to go on."""

    def __init__(self) -> None:
        self.clock = Restless()
        self.store = MemoryStore(self.clock)
        self.waiting: dict[str, asyncio.Future[None]] = {}
        self.dead: set[str] = set()
        self.held: set[tuple[str, str]] = set()  # what writers were told is stored
        self.tasks: list[asyncio.Task[None]] = []
        self.over = False

    def _paced(self, actor: str, inner: T, names: tuple[str, ...]) -> T:
        def paced(name: str) -> Callable[..., Awaitable[object]]:
            async def call(*arguments: object) -> object:
                await self._step(actor)
                return await getattr(inner, name)(*arguments)

            return call

        return around(inner, **{name: paced(name) for name in names})

    async def _step(self, actor: str) -> None:
        """Wait until the schedule says go."""
        if self.over:
            await asyncio.sleep(0)  # what cannot be torn in two comes to its end
        else:
            self.waiting[actor] = asyncio.get_running_loop().create_future()
            await self.waiting[actor]

    async def write(self, actor: str) -> None:
        """Put and drop the same two contents for ever."""
        store = SessionAttachmentStore(
            actor,
            self._paced(actor, self.store.attachments, MANIFEST),
            self._paced(actor, self.store.blobs, BLOBS),
            AttachmentPolicy(),
            clock=self.clock,
            is_dead=self._is_dead,
            seams=unobserved,
        )
        while True:
            for text in ("x", "y"):
                with owned_by_turn(actor, "never over"):
                    ref = await store.put(text.encode())
                self.held.add((actor, ref.id))
                await self._step(actor)  # is kept for a while
                # Given up before it is dropped: from then on nobody is promised anything.
                self.held.discard((actor, ref.id))
                await store.delete(ref.id)

    async def sweep(self, actor: str) -> None:
        """Sweep for ever, as if everything were old."""
        manifest = self._paced(actor, self.store.attachments, MANIFEST)
        blobs = self._paced(actor, self.store.blobs, BLOBS)
        number = 0
        while True:
            number += 1
            await Reclaim(
                manifest=manifest,
                blobs=blobs,
                sweeper=Sweeper(owner=owner(actor), nonce=str(number)),
                before_ms=self.clock.now_ms(),
                allow_empty=True,
                clear_stuck=False,
                is_dead=self._is_dead,
                seams=unobserved,
            ).run()

    def _is_dead(self, whom: LeaseOwner) -> bool:
        return whom.owner_id in self.dead

    def begin(self, work: Coroutine[object, object, None]) -> None:
        self.tasks.append(asyncio.create_task(work))

    async def settle(self) -> None:
        """Let everybody who lives come to the next call of the store, which waits."""
        async with asyncio.timeout(30):
            while not all(self._waits(actor) for actor in ACTORS if actor not in self.dead):
                assert not any(task.done() for task in self.tasks), self.tasks
                await asyncio.sleep(0)

    def _waits(self, actor: str) -> bool:
        return actor in self.waiting and not self.waiting[actor].done()

    async def check(self) -> None:
        """Whatever a writer was told is stored is there."""
        for _, attachment_id in self.held:
            assert await self.store.blobs.head(attachment_id) is not None

    async def end(self) -> None:
        self.over = True
        for task in self.tasks:
            task.cancel()
        for future in self.waiting.values():
            if not future.done():
                future.set_result(None)
        await asyncio.gather(*self.tasks, return_exceptions=True)


def owner(name: str) -> LeaseOwner:
    return LeaseOwner(owner_id=name, incarnation=name)


ACTORS = ("writer 1", "writer 2", "sweeper 1", "sweeper 2")
moves = st.tuples(st.sampled_from(ACTORS), st.sampled_from(["go"] * 30 + ["die"]))


async def act(schedule: list[tuple[str, str]]) -> int:
    """Follow a schedule; how many contents the sweepers deleted."""
    stage, deleted = Stage(), 0
    for actor in ACTORS:
        stage.begin(stage.write(actor) if "writer" in actor else stage.sweep(actor))
    try:
        await stage.settle()
        for actor, move in schedule:
            there = len(await stage.store.blobs.list())
            if move == "die":
                stage.dead.add(actor)
            elif actor not in stage.dead:
                stage.waiting[actor].set_result(None)
                await stage.settle()
            deleted += len(await stage.store.blobs.list()) < there
            await stage.check()
    finally:
        await stage.end()
    return deleted


@settings(max_examples=150, deadline=None)
@given(st.lists(moves, min_size=20, max_size=150))
def test_in_whatever_order_they_come_nothing_that_was_put_is_lost(
    schedule: list[tuple[str, str]],
) -> None:
    asyncio.run(act(schedule))


def test_the_sweepers_of_the_play_really_delete() -> None:
    schedule = [("writer 1", "go")] * 6 + [("sweeper 1", "go")] * 7
    assert asyncio.run(act(schedule * 20)) > 5
